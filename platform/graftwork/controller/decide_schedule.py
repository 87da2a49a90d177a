"""What to do about a FineTuneJob with a schedule: from the job, its runs and the time, to actions. Pure.

Each run is a FineTuneJob of its own, named after the job and the time, so that a time is never run twice: whoever looks
again finds the run. Up to when times are dealt with stands in the status, so that a run that is deleted does not come
again; a schedule that is new, changed or no longer suspended counts from when it was first seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from graftwork.controller import names
from graftwork.controller.actions import Action, Again, Create, Delete, Emit, SetStatus
from graftwork.controller.conditions import Finding, conditions_after, moment_of, plain, time_text
from graftwork.controller.read_spec import essential
from graftwork.spec.amounts import seconds_of
from graftwork.spec.base import API_VERSION
from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork.spec.job_schedule import Schedule
from graftwork.spec.status import ENDED, JobPhase, JobStatus

Object = Mapping[str, Any]

# However far the next time is: clocks are set right now and then.
_LONGEST_WAIT_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One run.

    Attributes:
        name: of its FineTuneJob.
        time: of the schedule.
        content: its FineTuneJob.
    """

    name: str
    time: datetime
    content: Object

    @property
    def status(self) -> JobStatus:
        """How far it is."""
        return JobStatus.model_validate(self.content.get("status") or {})

    @property
    def has_ended(self) -> bool:
        """Whether it succeeded or failed."""
        return self.status.phase in ENDED


@dataclass(frozen=True, kw_only=True)
class _Start:
    """What becomes of the time that is due.

    Attributes:
        actions: what starts its run, if one is started.
        news: what to tell.
    """

    actions: tuple[Action, ...] = ()
    news: tuple[Emit, ...] = ()


def decide_schedule(job: FineTuneJob, stored: Object, runs: Sequence[Object], *, now: datetime) -> list[Action]:
    """What to do now.

    Args:
        job: the job.
        stored: as it stands on the cluster.
        runs: FineTuneJobs that carry the schedule's label.
        now: the time.
    """
    schedule = job.spec.schedule
    if schedule is None:
        raise ValueError(f"{job.metadata.name} has no schedule")
    digest = names.digest_of([schedule.cron, schedule.time_zone, schedule.suspend])
    before = JobStatus.model_validate(stored.get("status") or {})
    # What stands there of a run of the job's own, from before it had a schedule, is no longer true.
    base = before if before.schedule_digest is not None else JobStatus()
    known = _runs(runs, stored["metadata"]["uid"])
    since = _dealt_with(before, known) if before.schedule_digest == digest else now
    due = None if schedule.suspend else schedule.last_time(now)
    start = _Start()
    if due is not None and since is not None and due > since:
        start = _start(job, stored, schedule, due, _active(known), now)
        since = due
    status = _status(base, known, job, stored, now).model_copy(
        update={"last_schedule_time": time_text(since or now), "schedule_digest": digest}
    )
    # The status stands before the history goes: a time whose run is gone is dealt with.
    report: list[Action] = [SetStatus(status=plain(status))] if status != before else []
    return [*start.actions, *start.news, *report, *_history(known, schedule), Again(after_s=_wait_s(schedule, now))]


def scheduled_run(job: FineTuneJob, time: datetime, *, namespace: str, uid: str = "") -> dict[str, Any]:
    """The FineTuneJob of a time.

    Args:
        job: the job with the schedule.
        time: when it was to begin.
        namespace: where.
        uid: of the job; empty for objects that are only printed.
    """
    name = job.metadata.name
    owner = {"apiVersion": job.api_version, "kind": job.kind, "name": name, "uid": uid, "controller": True}
    return {
        "apiVersion": job.api_version,
        "kind": job.kind,
        "metadata": {
            "name": names.scheduled_run_name(name, time),
            "namespace": namespace,
            "labels": {names.SCHEDULE_LABEL: name},
            "annotations": {names.SCHEDULE_TIME_ANNOTATION: time_text(time)},
            **({"ownerReferences": [{**owner, "blockOwnerDeletion": False}]} if uid else {}),
        },
        "spec": {key: value for key, value in essential(job).items() if key != "schedule"},
    }


def _runs(found: Sequence[Object], uid: str) -> list[_Run]:
    """The schedule's own, in the order of their times."""
    runs = [
        _Run(name=each["metadata"]["name"], time=time, content=each)
        for each in found
        if any(owner.get("uid") == uid for owner in each["metadata"].get("ownerReferences", ()))
        and (time := _time_of(each)) is not None
    ]
    return sorted(runs, key=lambda run: run.time)


def _time_of(run: Object) -> datetime | None:
    """The schedule's time that a run is for; None where somebody took or spoilt the note of it."""
    try:
        return moment_of(run["metadata"].get("annotations", {})[names.SCHEDULE_TIME_ANNOTATION])
    except (KeyError, ValueError):
        return None


def _active(runs: Sequence[_Run]) -> list[_Run]:
    return [run for run in runs if not run.has_ended and not run.content["metadata"].get("deletionTimestamp")]


def _dealt_with(status: JobStatus, runs: Sequence[_Run]) -> datetime | None:
    """Up to when all times are dealt with: as noted, or further where a run was made and the note was not."""
    noted = [moment_of(status.last_schedule_time)] if status.last_schedule_time is not None else []
    return max([*noted, *(run.time for run in runs)], default=None)


def _start(
    job: FineTuneJob, stored: Object, schedule: Schedule, due: datetime, active: Sequence[_Run], now: datetime
) -> _Start:
    late_s = (now - due).total_seconds()
    if late_s > seconds_of(schedule.starting_deadline):
        return _passed_over(due, f"it could not begin within {schedule.starting_deadline} (schedule.startingDeadline)")
    if active and schedule.concurrency_policy == "forbid":
        return _passed_over(due, f"{active[-1].name} is still under way (schedule.concurrencyPolicy)")
    metadata = stored["metadata"]
    run = scheduled_run(job, due, namespace=metadata["namespace"], uid=metadata["uid"])
    replaced = active if schedule.concurrency_policy == "replace" else ()
    deletions = [_deletion(each) for each in replaced]
    made = Emit(type="Normal", reason="RunStarted", message=f"Started {run['metadata']['name']}.")
    return _Start(actions=(*deletions, Create(manifest=run)), news=(made,))


def _passed_over(due: datetime, why: str) -> _Start:
    message = f"The run of {time_text(due)} was passed over: {why}."
    return _Start(news=(Emit(type="Warning", reason="RunPassedOver", message=message),))


def _deletion(run: _Run) -> Delete:
    metadata = run.content["metadata"]
    return Delete(
        api_version=API_VERSION,
        kind="FineTuneJob",
        namespace=metadata["namespace"],
        name=run.name,
        uid=metadata["uid"],
    )


def _history(runs: Sequence[_Run], schedule: Schedule) -> list[Action]:
    """Finished runs beyond those that are kept, the oldest first."""
    actions: list[Action] = []
    for phase, kept in (("Succeeded", schedule.history.succeeded), ("Failed", schedule.history.failed)):
        ended = [
            run for run in runs if run.status.phase == phase and not run.content["metadata"].get("deletionTimestamp")
        ]
        actions += [_deletion(run) for run in ended[: max(0, len(ended) - kept)]]
    return actions


def _status(base: JobStatus, runs: Sequence[_Run], job: FineTuneJob, stored: Object, now: datetime) -> JobStatus:
    """How the schedule stands; of runs that are gone, what was noted of them."""
    schedule = job.spec.schedule
    suspended = schedule is None or schedule.suspend
    following = None if schedule is None or suspended else schedule.next_time(now)
    active = [run.name for run in _active(runs)]
    ended = next((run for run in reversed(runs) if run.has_ended), None)
    registered = next((run.status for run in reversed(runs) if run.status.model is not None), None)
    phase: JobPhase = "Running" if active else "Suspended" if suspended else "Waiting"
    coming = "The schedule is suspended." if suspended else _coming(following)
    generation = stored["metadata"].get("generation", 0)
    findings = [Finding(type="Validated", holds=True, reason="Valid")]
    if ended is not None:
        findings.append(_last_end(ended))
    # A schedule has no pods to place: `Scheduled` tells of a refused run, up to the next that the cluster takes.
    standing = [condition for condition in base.conditions if condition.type != "Scheduled"]
    update: dict[str, Any] = {
        "observed_generation": generation,
        "phase": phase,
        "message": f"{', '.join(active)} under way. {coming}" if active else coming,
        "active_runs": active,
        "last_run": runs[-1].name if runs else base.last_run,
        "next_run_time": None if following is None else time_text(following),
        "conditions": conditions_after(standing, findings, now=now, generation=generation),
    }
    if registered is not None:
        update |= {key: getattr(registered, key) for key in ("model", "accuracy", "metrics")}
    return base.model_copy(update=update)


def _coming(following: datetime | None) -> str:
    return "There are no more times." if following is None else f"The next run begins at {time_text(following)}."


def _last_end(run: _Run) -> Finding:
    succeeded = run.status.phase == "Succeeded"
    reason = next((each.reason for each in run.status.conditions if each.type == "Succeeded"), run.status.phase)
    return Finding(type="Succeeded", holds=succeeded, reason=reason, message=f"{run.name}: {run.status.message}")


def _wait_s(schedule: Schedule, now: datetime) -> float:
    following = None if schedule.suspend else schedule.next_time(now)
    if following is None:
        return _LONGEST_WAIT_S
    return min(_LONGEST_WAIT_S, (following - now).total_seconds())
