"""The driver's side of a search: runs the trials that are not yet recorded, on Ray Tune, and says which is the best.

Ray must have been started.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.errors import PermanentError
from graftwork.spec.search_space import values_shown
from graftwork_jobs.distributed.worker_process import WorkerProcess
from graftwork_jobs.features.views import stored_views
from graftwork_jobs.search.halving import Halving, rungs_of
from graftwork_jobs.search.records import SearchResult, TrialRecord, read_trials
from graftwork_jobs.train.driver_files import this_node
from graftwork_jobs.train.launch import no_room, resources_of
from graftwork_jobs.train.ray_thread import in_ray_thread

if TYPE_CHECKING:
    from graftwork.progress import Reporter
    from graftwork.spec.fine_tune_job import FineTuneJobSpec, Search
    from graftwork.spec.search_space import TrialSpec
    from graftwork_jobs.search.scheduler import OrderedHalving
    from graftwork_jobs.train.request import TrainRequest

STOP_WITHIN_S = 5.0
"""How long a search that is stopped may take to let go of Ray, which is shut down then."""
_OVER_FILE = "over"
# A trial whose process was lost is begun anew so often.
_MAX_FAILURES = 1


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """One trial, ready to be trained.

    Attributes:
        trial: what it changes.
        request: what to train.
    """

    trial: TrialSpec
    request: TrainRequest


def run_search(
    spec: FineTuneJobSpec,
    planned: Sequence[PlannedTrial],
    folder: Path,
    reporter: Reporter,
) -> SearchResult:
    """Train the trials that no earlier attempt recorded.

    Blocks until done.

    Args:
        spec: of the job, with a `search` section.
        planned: all trials, in order.
        folder: where records are and go.
        reporter: takes a bar for the trials and a line for each.

    Raises:
        PermanentError: no trial found room in time (`scaling.schedulingTimeoutSeconds`), or Tune itself failed.
    """
    search = spec.search
    if search is None:
        raise ValueError("received a spec without `search`, expected one with it")
    done = read_trials(folder)
    known = {record.number for record in done}
    if not is_over(folder):
        with reporter.task("trials", len(planned), "trials") as task:
            task.advance(len(known))

            def tell(record: TrialRecord) -> None:
                task.advance(1)
                reporter.say(trial_line(record, search.metric))

            if len(known) < len(planned):
                _tune(spec, search, planned, done, folder, tell)
        run = len(read_trials(folder))
        if run < len(planned):
            reporter.warn(f"the budget of {search.budget} was used up after {run} of {len(planned)} trials")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _OVER_FILE).touch()
    return SearchResult(
        metric=search.metric,
        higher_is_better=search.higher_is_better,
        planned=len(planned),
        trials=tuple(read_trials(folder)),
    )


def is_over(folder: Path) -> bool:
    """Whether a search came to its end: all trials were run, or its budget was used up."""
    return (folder / _OVER_FILE).is_file()


def trial_line(record: TrialRecord, metric: str) -> str:
    """One trial in one line."""
    match record.status:
        case "failed":
            came_to = f"failed: {record.message.splitlines()[0] if record.message else 'no reason given'}"
        case "stopped":
            came_to = f"{metric} {record.score:.4f}, ended after epoch {len(record.history)}: others are better"
        case "finished":
            came_to = f"{metric} {record.score:.4f}"
    return f"trial {record.number} ({values_shown(record.values)}): {came_to}"


def _spent_s(done: Sequence[TrialRecord]) -> float:
    return max((record.until_s for record in done), default=0.0)


def _tune(
    spec: FineTuneJobSpec,
    search: Search,
    planned: Sequence[PlannedTrial],
    done: Sequence[TrialRecord],
    folder: Path,
    tell: Callable[[TrialRecord], None],
) -> None:
    from graftwork_jobs.search.scheduler import NoTrialStarted, OrderedHalving

    halving = _halving(search, planned, done)
    known = {record.number for record in done}
    open_numbers = [each.trial.number for each in planned if each.trial.number not in known]
    first = spec.phases[0]
    frozen_epochs = first.epochs if first.gradually is None else first.gradually.one_block_every
    caches = stored_views(spec, first, frozen_epochs) > 0

    def work(stop: threading.Event) -> None:
        scheduler = OrderedHalving(
            halving=halving,
            values={each.trial.number: each.trial.values for each in planned},
            metric=search.metric,
            folder=folder,
            spent_s=_spent_s(done),
            budget_s=search.budget_s,
            waits_for=open_numbers[0] if caches else None,
            start_within_s=spec.scaling.scheduling_timeout_seconds,
            tell=tell,
            stop=stop,
        )
        _fit(spec, search, planned, open_numbers, scheduler)

    with in_ray_thread(work, stop_within_s=STOP_WITHIN_S) as fit:
        fit.ended.wait()
    if isinstance(fit.failure, NoTrialStarted):
        raise no_room(spec.scaling)
    if fit.failure:
        raise PermanentError(
            f"The search failed: {fit.failure}. Run the job again: finished trials are not repeated."
        ) from fit.failure


def _halving(search: Search, planned: Sequence[PlannedTrial], done: Sequence[TrialRecord]) -> Halving:
    """What earlier attempts found out, as if it had just been reported."""
    epochs = max(sum(phase.epochs for phase in each.request.job.spec.phases) for each in planned)
    halving = Halving(
        rungs=rungs_of(epochs) if search.scheduler == "asha" else (), higher_is_better=search.higher_is_better
    )
    for record in done:
        for epoch, figures in enumerate(record.history, 1):
            halving.report(record.number, epoch, figures[search.metric])
        halving.end(record.number, finished=record.status == "finished")
    return halving


def _fit(
    spec: FineTuneJobSpec,
    search: Search,
    planned: Sequence[PlannedTrial],
    open_numbers: Sequence[int],
    scheduler: OrderedHalving,
) -> None:
    from ray import tune

    from graftwork_jobs.search.trial import run_trial

    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    scaling = spec.scaling
    resources = resources_of(scaling)
    trainable = tune.with_parameters(
        run_trial,
        requests=[replace(each.request, driver_node=this_node()) for each in planned],
        process=WorkerProcess.of_job(spec),
    )
    with tempfile.TemporaryDirectory(prefix="graft-tune-", ignore_cleanup_errors=True) as scratch:
        tune.Tuner(
            tune.with_resources(trainable, resources),
            param_space={"trial": tune.grid_search(list(open_numbers))},
            tune_config=tune.TuneConfig(
                scheduler=scheduler,
                max_concurrent_trials=search.max_concurrent,
                # A process starts once and runs one trial after another.
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=scratch,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=_MAX_FAILURES),
            ),
        ).fit()
