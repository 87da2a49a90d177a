"""A search on Ray Tune: the same trials and the same verdicts however many run at a time, and after an interruption."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ray import tune

from graftwork.errors import PermanentError
from graftwork.progress import SilentReporter
from graftwork.spec.fine_tune_job import FineTuneJobSpec
from graftwork.spec.search_space import trial_specs
from graftwork_jobs.events import read_events
from graftwork_jobs.search.halving import Halving
from graftwork_jobs.search.records import SearchResult, TrialRecord
from graftwork_jobs.search.run_search import STOP_WITHIN_S, PlannedTrial, is_over, run_search
from graftwork_jobs.search.scheduler import OrderedHalving, SearchStopped
from graftwork_jobs.search.trial import READY
from graftwork_jobs.train.launch import train
from tests.integration.train.small_jobs import SmallData, history_of, small_request

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

_DIVERGES = 3
# The clock is not part of what a trial comes to.
_TIMES = {"seconds", "images_per_s"}
JOB: dict[str, Any] = {
    "phases": [{"name": "head", "epochs": 9, "unfreeze": "none", "learningRate": 0.01}],
    "search": {
        "space": {
            "phases.head.learningRate": {"logUniform": [1e-4, 0.1]},
            "head.dropout": {"choice": [0, 0.3]},
            "head.hidden": {"choice": [[], [8]]},
        },
        "trials": 7,
    },
}


def _planned(data: SmallData, root: Path, *, concurrent: int) -> tuple[FineTuneJobSpec, list[PlannedTrial]]:
    """The trials, one of them made to diverge."""
    search = {**JOB["search"], "maxConcurrent": concurrent}
    whole = small_request(data, root, **{**JOB, "search": search})
    planned = []
    for trial in trial_specs(whole.job.spec):
        content = whole.job.model_dump(mode="json", by_alias=True, exclude_unset=True)
        job = type(whole.job).model_validate({**content, "spec": trial.spec})
        if trial.number == _DIVERGES:
            phases = [job.spec.phases[0].model_copy(update={"learning_rate": 1e38})]
            job = job.model_copy(update={"spec": job.spec.model_copy(update={"phases": phases})})
        request = replace(
            whole,
            job=job,
            run_dir=root / f"{trial.number:04d}",
            run_name=f"{root.name}-{trial.number}",
            features_dir=root / "features",
            writes_checkpoints=False,
        )
        planned.append(PlannedTrial(trial=trial, request=request))
    return whole.job.spec, planned


def _timeless(record: TrialRecord) -> TrialRecord:
    history = tuple({key: value for key, value in each.items() if key not in _TIMES} for each in record.history)
    return replace(record, seconds=0.0, until_s=0.0, history=history)


@dataclass(frozen=True, kw_only=True)
class Searches:
    """The same search twice: two trials at a time, and one at a time over what an interruption left of the first."""

    together: SearchResult
    resumed: SearchResult
    root: Path
    resumed_root: Path


@pytest.fixture(scope="module")
def searches(local_ray: Path, small_data: SmallData, tmp_path_factory: pytest.TempPathFactory) -> Searches:
    """Both from one Ray."""
    root, resumed_root = tmp_path_factory.mktemp("together"), tmp_path_factory.mktemp("resumed")
    spec, planned = _planned(small_data, root, concurrent=2)
    together = run_search(spec, planned, root, SilentReporter())
    for number in (0, 1, 2, 4):
        shutil.copy(root / f"{number:04d}.json", resumed_root)
    spec, planned = _planned(small_data, resumed_root, concurrent=1)
    resumed = run_search(spec, planned, resumed_root, SilentReporter())
    return Searches(together=together, resumed=resumed, root=root, resumed_root=resumed_root)


@pytest.mark.usefixtures("local_ray")
def test_trials_that_find_no_room_in_time_end_the_search(small_data: SmallData, tmp_path: Path) -> None:
    """On a cluster they wait for a machine, which may never come."""
    spec, planned = _planned(small_data, tmp_path, concurrent=2)
    wanted = {"gpus_per_worker": 4096.0, "scheduling_timeout_seconds": 2.0}
    spec = spec.model_copy(update={"scaling": spec.scaling.model_copy(update=wanted)})
    with pytest.raises(PermanentError, match=r"did not start within 2 s .*needs 1 CPU and 4096 GPU"):
        run_search(spec, planned, tmp_path, SilentReporter())
    assert not is_over(tmp_path)


class _Listener(SilentReporter):
    """Keeps warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@pytest.mark.usefixtures("local_ray")
def test_a_budget_that_ends_a_search_is_told(small_data: SmallData, tmp_path: Path) -> None:
    """The winner of one trial in seven is no winner of seven."""
    spec, planned = _planned(small_data, tmp_path, concurrent=1)
    assert spec.search is not None
    spec = spec.model_copy(update={"search": spec.search.model_copy(update={"budget": "1s"})})
    listener = _Listener()
    found = run_search(spec, planned, tmp_path, listener)
    assert len(found.trials) < 7
    assert listener.warnings == [f"the budget of 1s was used up after {len(found.trials)} of 7 trials"]


@pytest.mark.usefixtures("local_ray")
def test_a_search_that_is_stopped_waits_for_no_epoch(tmp_path: Path) -> None:
    """An epoch may take minutes; a search is stopped within the seconds that Ray is kept for it."""
    stop, stopped_at = threading.Event(), []

    class StoppedOnceBegun(OrderedHalving):
        def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
            stop.set()
            stopped_at.append(time.monotonic())
            return super().on_trial_result(tune_controller, trial, result)

    def endless(_config: dict[str, Any]) -> None:
        tune.report({READY: 0.0})
        threading.Event().wait()

    scheduler = StoppedOnceBegun(
        halving=Halving(rungs=(), higher_is_better=False),
        values={0: {}},
        metric="val_loss",
        folder=tmp_path,
        spent_s=0.0,
        budget_s=None,
        waits_for=None,
        start_within_s=600.0,
        tell=lambda _record: None,
        stop=stop,
    )
    tuner = tune.Tuner(
        endless,
        param_space={"trial": tune.grid_search([0])},
        tune_config=tune.TuneConfig(scheduler=scheduler, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    )
    with pytest.raises(SearchStopped):
        tuner.fit()
    assert time.monotonic() - stopped_at[0] < STOP_WITHIN_S


def test_every_trial_comes_to_an_end(searches: Searches) -> None:
    """Some are trained to the end, others are ended early, and one that diverges fails without harm to the others."""
    status = {record.number: record.status for record in searches.together.trials}
    assert set(status) == set(range(7))
    assert status[_DIVERGES] == "failed"
    assert "diverged" in searches.together.trials[_DIVERGES].message
    assert status[0] == "finished"
    assert "stopped" in status.values()
    assert is_over(searches.root)


def test_verdicts_do_not_depend_on_speed_or_interruptions(searches: Searches) -> None:
    """Figures of every epoch, who was ended early and who won are the same."""
    assert [_timeless(record) for record in searches.resumed.trials] == [
        _timeless(record) for record in searches.together.trials
    ]
    assert searches.resumed.best is not None
    assert searches.resumed.best.number == getattr(searches.together.best, "number", None)


def test_recorded_trials_are_not_repeated(searches: Searches) -> None:
    """The second search ran only those that the interruption had lost."""
    began = {int(events.parent.name) for events in searches.resumed_root.glob("*/events.jsonl")}
    assert began == {3, 5, 6}


def test_trials_share_the_features(searches: Searches) -> None:
    """The trunk runs once; every later trial finds its features in the store."""
    hits = [
        event["hit"]
        for file in sorted(searches.root.glob("*/events.jsonl"))
        for event in read_events(file)
        if event["kind"] == "features"
    ]
    assert hits.count(False) == 2
    assert hits.count(True) == 2 * 6


def test_trials_leave_the_test_sets_alone(searches: Searches) -> None:
    """No predictions, no final weights, no checkpoints."""
    left = {path.name for path in searches.root.glob("*/*")}
    assert left <= {"events.jsonl"} | {path.name for path in (searches.root / "features").iterdir()}


def test_the_best_trial_trained_as_a_job_gives_its_figures(searches: Searches, small_data: SmallData) -> None:
    """What a Ray Train worker makes of the spec is what the trial's process made of it."""
    best = searches.together.best
    assert best is not None
    _, planned = _planned(small_data, searches.root, concurrent=2)
    request = replace(
        planned[best.number].request,
        run_dir=searches.root.with_name("refit"),
        run_name="refit",
        writes_checkpoints=True,
    )
    request.run_dir.mkdir()
    train(request, SilentReporter())
    for own, trial in zip(history_of(request), best.history, strict=True):
        for key in ("loss", "val_loss", "val_accuracy"):
            assert own[key] == pytest.approx(trial[key], rel=1e-5)
