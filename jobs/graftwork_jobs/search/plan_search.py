"""What a search will do, found out before anything is spent: each trial's job, checked, and the time it will take."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from graftwork.errors import SpecError
from graftwork.preprocess.inputs import InputSpec
from graftwork.spec.edit_yaml import flow
from graftwork.spec.fine_tune_job import FineTuneJob, FineTuneJobSpec, Phase, SearchRange
from graftwork.spec.search_space import TrialSpec, trial_specs, values_shown

if TYPE_CHECKING:
    from graftwork_jobs.model.network import Network
    from graftwork_jobs.phase_plan import PhasePlan

# What a trial costs besides its training: backbone, network, tracing. Measured 2-4 s on two cores.
_TRIAL_START_S = 3.0
# What a phase of the head alone costs once an earlier trial has computed its features; measured for one layer.
_CACHED_SHARE = 0.2
# What successive halving leaves of the epochs, about: all reach the first rung, one in three the second, and so on.
_ASHA_SHARE = 0.4


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """What a search will do, before the best trial is trained as the job.

    Attributes:
        space: what each field may be, in words, by path.
        trials: how many variants.
        asked: how many the spec asks for; more than `trials` where its space holds no more.
        concurrent: how many at a time.
        metric: what decides.
        scheduler: what ends trials early.
        budget: time after which no trial begins, as the spec says it; None without one.
        estimated_s: estimate for all trials on this machine, in seconds.
    """

    space: dict[str, str]
    trials: int
    asked: int
    concurrent: int
    metric: str
    scheduler: str
    budget: str | None
    estimated_s: float


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A trial of a search.

    Attributes:
        trial: what it changes.
        job: the job with these changes and without `search`.
        input: what its examples are brought to.
    """

    trial: TrialSpec
    job: FineTuneJob
    input: InputSpec


@dataclass(frozen=True, kw_only=True)
class KnownNetwork:
    """A network that was built to plan with.

    Attributes:
        input: what its examples are brought to.
        network: the network.
    """

    input: InputSpec
    network: Network


def plan_variants(
    job: FineTuneJob,
    own: KnownNetwork,
    *,
    build: Callable[[FineTuneJobSpec], KnownNetwork],
    resolve: Callable[[Network, Sequence[Phase]], Any],
) -> tuple[Variant, ...]:
    """The trials of a job's search, each checked against the network it means; none without a search.

    Args:
        job: the job.
        own: its own network.
        build: makes the network of another spec.
        resolve: finds the layers that phases name, or raises a SpecError.

    Raises:
        SpecError: a trial names a backbone or a layer that is not there.
    """
    networks = {_network_key(job.spec): own}
    variants = []
    for trial in trial_specs(job.spec):
        changed = variant_of(job, trial)
        key = _network_key(changed.spec)
        with _naming(trial):
            if key not in networks:
                networks[key] = build(changed.spec)
            resolve(networks[key].network, changed.spec.phases)
        variants.append(Variant(trial=trial, job=changed, input=networks[key].input))
    return tuple(variants)


def variant_of(job: FineTuneJob, trial: TrialSpec) -> FineTuneJob:
    """The job with a trial's changes, without `search`."""
    content = job.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return FineTuneJob.model_validate({**content, "spec": trial.spec})


def plan_search(
    spec: FineTuneJobSpec, variants: Sequence[Variant], phases: Sequence[PhasePlan], *, cores: int
) -> SearchPlan | None:
    """Say what the search will do; None without one.

    Args:
        spec: of the job.
        variants: its trials.
        phases: plans of its own phases, whose times stand for those of the trials.
        cores: of this machine.
    """
    search = spec.search
    if search is None:
        return None
    room = max(1, int(cores / spec.scaling.cpus_per_worker))
    concurrent = min(len(variants), room if search.max_concurrent is None else search.max_concurrent)
    one_trial_s = sum(
        phase.estimated_s * (_CACHED_SHARE if phase.features is not None and phase.freeze_boundary is None else 1.0)
        for phase in phases
    )
    share = _ASHA_SHARE if search.scheduler == "asha" else 1.0
    all_s = len(variants) / concurrent * (_TRIAL_START_S + one_trial_s * share)
    return SearchPlan(
        space={path: _range_words(values) for path, values in search.space.items()},
        trials=len(variants),
        asked=search.trials,
        concurrent=concurrent,
        metric=search.metric,
        scheduler=search.scheduler,
        budget=search.budget,
        estimated_s=all_s if search.budget_s is None else min(all_s, search.budget_s + one_trial_s),
    )


def _network_key(spec: FineTuneJobSpec) -> str:
    """What decides which layers a backbone has and what size its pictures are."""
    return json.dumps([spec.backbone.model_dump(mode="json"), spec.input.model_dump(mode="json")], sort_keys=True)


@contextmanager
def _naming(trial: TrialSpec) -> Iterator[None]:
    """Say which values of a space lead to a problem."""
    try:
        yield
    except SpecError as error:
        shown = values_shown(trial.values)
        raise SpecError(
            [
                replace(problem, where=f"spec.search.space ({problem.where})", received=f"{problem.received} ({shown})")
                for problem in error.problems
            ]
        ) from error


def _range_words(values: SearchRange) -> str:
    (key, given), *_ = values.model_dump(mode="json", by_alias=True, exclude_none=True).items()
    match key:
        case "choice":
            return f"one of {', '.join(flow(value) for value in given)}"
        case "integer":
            return f"a whole number from {given[0]} to {given[1]}"
        case "logUniform":
            return f"from {given[0]:g} to {given[1]:g}, by orders of magnitude"
        case _:
            return f"from {given[0]:g} to {given[1]:g}"
