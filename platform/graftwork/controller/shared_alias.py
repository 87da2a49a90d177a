"""Jobs under way that will move one alias of one registered model: whichever ends last has it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from graftwork.controller import names
from graftwork.controller.conditions import Finding
from graftwork.controller.read_spec import read_object
from graftwork.errors import SpecError
from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork.spec.status import ENDED, Condition

Object = Mapping[str, Any]

SHARES_ALIAS: Final = "SharesAlias"
_NAMED: Final = 3


def shared_alias(
    job: Object, others: Sequence[Object], standing: Sequence[Condition], *, has_ended: bool
) -> list[Finding]:
    """Whether other jobs under way will move the alias that this one will; nothing where none ever did.

    Args:
        job: the job.
        others: some jobs that register the same model, itself perhaps included.
        standing: conditions of the job so far.
        has_ended: whether it has just ended.
    """
    near = [] if has_ended else [each for each in others if _may_rival(job, each)]
    claim = _claim_of(job) if near else None
    rivals = [] if claim is None else [each for each in near if _claim_of(each) == claim]
    if rivals:
        message = (
            f"{_named(job, rivals)} will move {claim}, too: whichever ends last has it. Stop or delete what is not "
            "wanted, or give one of them another register.alias."
        )
        return [Finding(type=SHARES_ALIAS, holds=True, reason="OtherJobs", message=message)]
    if any(each.type == SHARES_ALIAS for each in standing):
        return [Finding(type=SHARES_ALIAS, holds=False, reason="Ended" if has_ended else "NoOtherJobs")]
    return []


def _may_rival(job: Object, other: Object) -> bool:
    """Whether another job is one to look at: runs of one schedule are the affair of its concurrencyPolicy."""
    mine, theirs = job["metadata"], other["metadata"]
    schedule = mine.get("labels", {}).get(names.SCHEDULE_LABEL)
    is_of_it = theirs.get("labels", {}).get(names.SCHEDULE_LABEL) == schedule
    is_sibling = schedule is not None and is_of_it and mine["namespace"] == theirs["namespace"]
    return bool(mine["uid"] != theirs["uid"]) and not is_sibling


def _claim_of(job: Object) -> str | None:
    """`NAME@ALIAS` that a job will move when it ends; None for one that moves nothing, has ended or is suspended."""
    if (job.get("status") or {}).get("phase") in ENDED or job["metadata"].get("deletionTimestamp"):
        return None
    try:
        spec = read_object(job, FineTuneJob).spec
    except SpecError:
        return None  # its own condition says so
    if spec.register_ is None or spec.register_.alias is None or spec.kubernetes.suspend or spec.schedule is not None:
        return None
    return f"{spec.register_.model}@{spec.register_.alias}"


def _named(job: Object, rivals: Sequence[Object]) -> str:
    """Names of jobs beside it; of other namespaces, which are others' affair, their number."""
    namespace = job["metadata"]["namespace"]
    here = sorted(each["metadata"]["name"] for each in rivals if each["metadata"]["namespace"] == namespace)
    elsewhere = len(rivals) - len(here)
    if not here:
        return (
            "A FineTuneJob of another namespace" if elsewhere == 1 else f"{elsewhere} FineTuneJobs of other namespaces"
        )
    parts = here[:_NAMED]
    if len(here) > _NAMED:
        parts.append(f"{len(here) - _NAMED} more")
    if elsewhere:
        parts.append(f"{elsewhere} of {'another namespace' if elsewhere == 1 else 'other namespaces'}")
    if len(parts) == 1:
        return f"The FineTuneJob {parts[0]}"
    return f"The FineTuneJobs {', '.join(parts[:-1])} and {parts[-1]}"
