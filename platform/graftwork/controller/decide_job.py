"""What to do about a FineTuneJob: from the job, what is seen of it, and the time, to actions. Pure.

The decision looks at what is there now, never at what happened before: it may be made at any time, any number of times,
by an operator that has just started. A finished run is never begun again; only another spec is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from graftwork.controller import names
from graftwork.controller.actions import Action, Again, Apply, Delete, Emit, SetStatus
from graftwork.controller.conditions import Finding, conditions_after, moment_of, plain, time_text
from graftwork.controller.decide_schedule import decide_schedule
from graftwork.controller.job_objects import PROGRESS_KEY, JobRun, job_objects, progress_map
from graftwork.controller.ownership import owns
from graftwork.controller.pods import PodDefaults
from graftwork.controller.ray_status import KUBERAY, why_no_pods
from graftwork.controller.read_spec import check_for_cluster, essential, problem_words, read_object
from graftwork.controller.run_report import RunReport
from graftwork.controller.shared_alias import SHARES_ALIAS, shared_alias
from graftwork.controller.upkeep import is_due
from graftwork.errors import SpecError
from graftwork.spec.amounts import seconds_of
from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork.spec.status import ENDED, JobPhase, JobStatus

Object = Mapping[str, Any]

_FOREIGN_RETRY_S = 30.0
_NO_KUBERAY_RETRY_S = 60.0
_REPLACED_RETRY_S = 2.0
_LOOK_AGAIN_S = 300.0
_TO_BE_MENDED = frozenset({"KubeRayMissing", "NameTaken", "PodsRefused"})


@dataclass(frozen=True, kw_only=True)
class JobObserved:
    """What is seen of a job.

    Attributes:
        job: the FineTuneJob as it stands on the cluster.
        ray_jobs: RayJobs that carry its label or its run's name.
        runs: FineTuneJobs that its schedule started, if it has one.
        same_model: FineTuneJobs that register the same model, itself perhaps included.
        progress: the ConfigMap in which the run reports, if there is one.
        has_kuberay: whether the cluster knows RayJobs.
    """

    job: Object
    ray_jobs: Sequence[Object] = ()
    runs: Sequence[Object] = ()
    same_model: Sequence[Object] = ()
    progress: Object | None = None
    has_kuberay: bool = True


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """Where a run stands.

    Attributes:
        phase: in one word.
        reason: CamelCase word.
        message: a sentence.
        findings: conditions.
    """

    phase: JobPhase
    reason: str
    message: str
    findings: list[Finding] = field(default_factory=list)


def decide_job(observed: JobObserved, *, now: datetime, defaults: PodDefaults) -> list[Action]:
    """What to do now."""
    metadata = observed.job["metadata"]
    if metadata.get("deletionTimestamp"):
        return []  # all of its objects are owned by it and go with it
    status = JobStatus.model_validate(observed.job.get("status") or {})
    try:
        job = read_object(observed.job, FineTuneJob)
        check_for_cluster(job)
    except SpecError as error:
        return _refused(observed, status, problem_words(error), now)
    run = JobRun(
        job=job,
        uid=metadata["uid"],
        content=essential(job),
        namespace=metadata["namespace"],
        defaults=defaults,
    )
    if job.spec.schedule is not None:
        # Its runs train; what it trained itself before it had a schedule goes.
        return [*_stale(observed, run, kept=None), *decide_schedule(job, observed.job, observed.runs, now=now)]
    mended = status.phase == "Failed" and status.placement_digest not in {None, run.placement}
    if status.spec_digest == run.digest and status.phase in ENDED and not mended:
        return [*_stale(observed, run, kept=run.name), *_after_the_end(observed, status, run, now)]
    return _go_on(observed, status, run, now)


def _go_on(observed: JobObserved, status: JobStatus, run: JobRun, now: datetime) -> list[Action]:
    if status.spec_digest not in {None, run.digest} or status.schedule_digest is not None:
        # Another spec is another run: nothing of the old one, or of those of a schedule, is true of it.
        status = JobStatus()
    tries_again = status.phase == "Failed"
    if tries_again:
        status = JobStatus()
    if not observed.has_kuberay:
        outcome = _Outcome(
            phase="Pending",
            reason="KubeRayMissing",
            message=f"The cluster does not know RayJobs. Install KubeRay {KUBERAY} beside Graftwork.",
            findings=[Finding(type="Scheduled", holds=False, reason="KubeRayMissing")],
        )
        return [*_report(observed, status, run, outcome, now), Again(after_s=_NO_KUBERAY_RETRY_S)]
    ray_job = next((each for each in observed.ray_jobs if each["metadata"]["name"] == run.name), None)
    if ray_job is not None and not owns(ray_job, run.uid):
        return _taken(observed, status, run, now)
    if ray_job is not None and ray_job["metadata"].get("deletionTimestamp"):
        # It is going; what replaces it comes when it is gone.
        outcome = _Outcome(phase="Pending", reason="Deleting", message="Waiting for the RayJob to be deleted.")
        return [*_report(observed, status, run, outcome, now), Again(after_s=_FOREIGN_RETRY_S)]
    if _is_placed_otherwise(ray_job, run) or (tries_again and ray_job is None and observed.progress is not None):
        return _replaced(observed, status, run, ray_job, now)
    outcome = _outcome(ray_job, _report_of(observed), run)
    actions = [*_stale(observed, run, kept=run.name)]
    if outcome.phase not in ENDED:
        actions += _wanted(observed, ray_job, run, now)
    return [*actions, *_report(observed, status, run, outcome, now, ray_job), Again(after_s=_LOOK_AGAIN_S)]


def _is_placed_otherwise(ray_job: Object | None, run: JobRun) -> bool:
    """Whether a RayJob has to go: KubeRay keeps the pods that it made for it, whatever its spec says by now.

    One that runs goes on, and takes the new placement with its next cluster.
    """
    if ray_job is None:
        return False
    placement = ray_job["metadata"].get("annotations", {}).get(names.PLACEMENT_ANNOTATION, run.placement)
    at_work = ray_job.get("status", {}).get("jobDeploymentStatus", "") in {"Running", "Complete"}
    return bool(placement != run.placement) and not at_work


def _replaced(
    observed: JobObserved, status: JobStatus, run: JobRun, ray_job: Object | None, now: datetime
) -> list[Action]:
    outcome = _waiting("Pending", "PlacementChanged", "Its pods are made anew, as spec.kubernetes says now.")
    # What the failed try reported is not true of the next one. It goes first: the RayJob tells what is left to do.
    gone = [Delete(api_version="v1", kind="ConfigMap", namespace=run.namespace, name=names.progress_name(run.name))]
    if ray_job is not None:
        uid = ray_job["metadata"]["uid"]
        gone.append(Delete(api_version="ray.io/v1", kind="RayJob", namespace=run.namespace, name=run.name, uid=uid))
    return [*gone, *_report(observed, status, run, outcome, now), Again(after_s=_REPLACED_RETRY_S)]


def _wanted(observed: JobObserved, ray_job: Object | None, run: JobRun, now: datetime) -> list[Action]:
    """What has to be brought to the cluster: nothing, if the RayJob is the one these objects were made for.

    Now and then all the same: somebody may have deleted or changed one of them.
    """
    objects = job_objects(run)
    report = [] if observed.progress is not None else [progress_map(run)]
    if ray_job is not None and not is_due(now, run.uid, look_s=_LOOK_AGAIN_S):
        applied = ray_job["metadata"].get("annotations", {}).get(names.APPLIED_ANNOTATION)
        if applied == objects[-1]["metadata"]["annotations"][names.APPLIED_ANNOTATION]:
            objects = []
    return [Apply(manifest=manifest) for manifest in (*report, *objects)]


def _stale(observed: JobObserved, run: JobRun, *, kept: str | None) -> list[Action]:
    """Runs of earlier specs, with what belongs to them: all but the one to keep."""
    actions: list[Action] = []
    for ray_job in observed.ray_jobs:
        metadata = ray_job["metadata"]
        if metadata["name"] == kept or not owns(ray_job, run.uid) or metadata.get("deletionTimestamp"):
            continue
        actions += [
            Delete(api_version=version, kind=kind, namespace=run.namespace, name=name)
            for version, kind, name in (
                ("networking.k8s.io/v1", "NetworkPolicy", metadata["name"]),
                ("rbac.authorization.k8s.io/v1", "RoleBinding", metadata["name"]),
                ("rbac.authorization.k8s.io/v1", "Role", metadata["name"]),
                ("v1", "ConfigMap", metadata["name"]),
                ("v1", "ConfigMap", names.progress_name(metadata["name"])),
                ("v1", "ServiceAccount", metadata["name"]),
            )
        ]
        # Last, so that an operator killed in between still finds what is left to do.
        actions.append(
            Delete(
                api_version="ray.io/v1",
                kind="RayJob",
                namespace=run.namespace,
                name=metadata["name"],
                uid=metadata["uid"],
            )
        )
    return actions


def _after_the_end(observed: JobObserved, status: JobStatus, run: JobRun, now: datetime) -> list[Action]:
    actions: list[Action] = []
    if status.observed_generation != observed.job["metadata"].get("generation", 0):
        outcome = _Outcome(phase=status.phase, reason=status.phase, message=status.message)
        actions += _report(observed, status, run, outcome, now)
    ttl = run.job.spec.kubernetes.ttl_after_finished
    if ttl is None or status.completion_time is None:
        return actions
    left_s = seconds_of(ttl) - (now - moment_of(status.completion_time)).total_seconds()
    if left_s > 0:
        return [*actions, Again(after_s=left_s)]
    metadata = observed.job["metadata"]
    return [
        Delete(
            api_version=run.job.api_version,
            kind=run.job.kind,
            namespace=run.namespace,
            name=metadata["name"],
            uid=metadata["uid"],
        )
    ]


def _taken(observed: JobObserved, status: JobStatus, run: JobRun, now: datetime) -> list[Action]:
    outcome = _Outcome(
        phase="Pending",
        reason="NameTaken",
        message=f"There is a RayJob {run.name} that this job did not make. Delete it, or rename the job.",
        findings=[Finding(type="Scheduled", holds=False, reason="NameTaken")],
    )
    return [*_report(observed, status, run, outcome, now), Again(after_s=_FOREIGN_RETRY_S)]


def _refused(observed: JobObserved, status: JobStatus, message: str, now: datetime) -> list[Action]:
    generation = observed.job["metadata"].get("generation", 0)
    after = status.model_copy(
        update={
            "observed_generation": generation,
            "phase": "Failed",
            "message": message,
            "spec_digest": None,
            "conditions": conditions_after(
                status.conditions,
                [
                    Finding(type="Validated", holds=False, reason="InvalidSpec", message=message),
                    Finding(type="Succeeded", holds=False, reason="InvalidSpec"),
                ],
                now=now,
                generation=generation,
            ),
        }
    )
    return _changed(status, after, Emit(type="Warning", reason="InvalidSpec", message=message))


def _report(
    observed: JobObserved,
    status: JobStatus,
    run: JobRun,
    outcome: _Outcome,
    now: datetime,
    ray_job: Object | None = None,
) -> list[Action]:
    """The status, if it is another than before, and the news in it."""
    generation = observed.job["metadata"].get("generation", 0)
    report = _report_of(observed)
    ended, running = outcome.phase in ENDED, outcome.phase == "Running"
    before = JobStatus.model_validate(observed.job.get("status") or {})
    shared = shared_alias(observed.job, observed.same_model, status.conditions, has_ended=ended)
    findings = [Finding(type="Validated", holds=True, reason="Valid"), *outcome.findings, *shared]
    after = status.model_copy(
        update={
            "observed_generation": generation,
            "phase": outcome.phase,
            "message": outcome.message,
            "ray_job": run.name,
            "spec_digest": run.digest,
            "placement_digest": run.placement,
            "start_time": status.start_time or (time_text(now) if running else None),
            "completion_time": status.completion_time or (time_text(now) if ended else None),
            "attempts": _failed_clusters(ray_job) if ray_job is not None else status.attempts,
            **(report.status_fields() if report is not None else {}),
            "conditions": conditions_after(status.conditions, findings, now=now, generation=generation),
        }
    )
    kind: Literal["Normal", "Warning"]
    kind = "Warning" if outcome.phase == "Failed" or outcome.reason in _TO_BE_MENDED else "Normal"
    told = {each.message for each in before.conditions if each.type == SHARES_ALIAS}
    warnings = [
        Emit(type="Warning", reason=SHARES_ALIAS, message=each.message)
        for each in shared
        if each.holds and each.message not in told
    ]
    return [*warnings, *_changed(before, after, Emit(type=kind, reason=outcome.reason, message=outcome.message))]


def _changed(before: JobStatus, after: JobStatus, news: Emit) -> list[Action]:
    if before == after:
        return []
    told = (before.phase, before.message) == (after.phase, after.message)
    # News first: killed in between, they are told again under the same name, while a status that stands tells nothing.
    return [*([] if told else [news]), SetStatus(status=plain(after))]


def _report_of(observed: JobObserved) -> RunReport | None:
    text = ((observed.progress or {}).get("data") or {}).get(PROGRESS_KEY)
    if text is None:
        return None
    try:
        return RunReport.model_validate(json.loads(text))
    except ValueError:
        return None  # written by a driver of another version; the RayJob still tells how it ends


def _failed_clusters(ray_job: Object) -> int:
    return int(ray_job.get("status", {}).get("failed") or 0)


def _outcome(ray_job: Object | None, report: RunReport | None, run: JobRun) -> _Outcome:
    """What RayJob and driver say together."""
    suspended = run.job.spec.kubernetes.suspend
    if ray_job is None and report is not None and report.outcome != "running":
        # It ended, and its RayJob was deleted before that was noted here.
        return _completed({"jobStatus": "SUCCEEDED"}, report)
    if ray_job is None:
        return _waiting("Suspended" if suspended else "Pending", "Created", "The RayJob is being made.")
    status = ray_job.get("status", {})
    queued = run.job.spec.kubernetes.queue is not None
    match status.get("jobDeploymentStatus", ""):
        case "Complete":
            return _completed(status, report)
        case "Failed" | "ValidationFailed":
            return _failed(status, report)
        case "Suspending" | "Suspended" if suspended:
            return _waiting("Suspended", "Suspended", "Stopped; set spec.kubernetes.suspend to false to go on.")
        case "Suspending" | "Suspended" if queued:
            return _waiting("Queued", "Queued", f"Waiting in the queue {run.job.spec.kubernetes.queue}.", queued=True)
        case "Running":
            return _running(report)
        case "Retrying":
            return _waiting("Starting", "Retrying", "The cluster failed; a new one is being made.")
        case _ if (words := why_no_pods(status)) is not None:
            return _waiting("Starting", "PodsRefused", words)
        case _:
            return _waiting("Starting", "Starting", "The Ray cluster is starting.")


def _waiting(phase: JobPhase, reason: str, message: str, *, queued: bool = False) -> _Outcome:
    return _Outcome(
        phase=phase,
        reason=reason,
        message=message,
        findings=[
            Finding(type="Queued", holds=queued, reason=reason if queued else "NotQueued"),
            Finding(type="Scheduled", holds=False, reason=reason, message=message if reason == "PodsRefused" else ""),
            Finding(type="Running", holds=False, reason=reason),
        ],
    )


def _running(report: RunReport | None) -> _Outcome:
    return _Outcome(
        phase="Running",
        reason="Running",
        message="Training." if report is None else report.sentence(),
        findings=[
            Finding(type="Queued", holds=False, reason="NotQueued"),
            Finding(type="Scheduled", holds=True, reason="ClusterReady"),
            Finding(type="Running", holds=True, reason="Running"),
            *(report.findings() if report is not None else []),
        ],
    )


def _completed(status: Mapping[str, Any], report: RunReport | None) -> _Outcome:
    """The driver ended by itself; what it came to, it has reported."""
    if report is not None and report.outcome == "failed":
        return _ended(succeeded=False, reason=report.reason or "Failed", message=report.message, report=report)
    if status.get("jobStatus") != "SUCCEEDED":
        return _failed(status, report)
    if report is None or report.outcome != "succeeded":
        return _ended(
            succeeded=False,
            reason="ReportMissing",
            message="The driver ended without a report. Check that its image is of this version and that its "
            "ServiceAccount may patch the ConfigMap of its progress.",
            report=report,
        )
    return _ended(succeeded=True, reason="Succeeded", message=report.message or "Succeeded.", report=report)


_FAILED_WORDS = {
    "DeadlineExceeded": "It ran longer than spec.kubernetes.deadline. Allow more time, or train for less.",
    "PreRunningDeadlineExceeded": "Its pods did not start within spec.kubernetes.startDeadline. "
    "Run `graft why` for the cause.",
    "SubmissionFailed": "The driver could not be started in the Ray cluster. Run `graft why` for the cause.",
}


def _failed(status: Mapping[str, Any], report: RunReport | None) -> _Outcome:
    if report is not None and report.outcome == "failed":
        return _ended(succeeded=False, reason=report.reason or "Failed", message=report.message, report=report)
    if report is not None and report.reason is not None:
        # The last try's own words say more than that the tries are used up.
        return _ended(succeeded=False, reason=report.reason, message=report.message, report=report)
    reason = status.get("reason") or "RayJobFailed"
    words = _FAILED_WORDS.get(reason) or status.get("message") or "The Ray job failed. Run `graft why` for the cause."
    return _ended(succeeded=False, reason=reason, message=words, report=report)


def _ended(*, succeeded: bool, reason: str, message: str, report: RunReport | None) -> _Outcome:
    return _Outcome(
        phase="Succeeded" if succeeded else "Failed",
        reason=reason,
        message=message,
        findings=[
            *(report.findings() if report is not None else []),
            Finding(type="Queued", holds=False, reason="Ended"),
            Finding(type="Running", holds=False, reason="Ended"),
            Finding(type="Succeeded", holds=succeeded, reason=reason, message=message),
        ],
    )
