from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from graftwork.controller.why import Evidence, why


def _target(
    phase: str = "Starting",
    *,
    seen: int = 1,
    conditions: tuple[dict[str, str], ...] = (),
    kind: str = "FineTuneJob",
) -> dict[str, Any]:
    return {
        "kind": kind,
        "metadata": {"name": "flowers", "generation": 1},
        "spec": {"kubernetes": {"queue": "team"}},
        "status": {"observedGeneration": seen, "phase": phase, "conditions": list(conditions)},
    }


def _pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "flowers-head"}, "status": status}


def _container(**state: Any) -> dict[str, Any]:
    return _pod(containerStatuses=[{"name": "ray-head", "image": "train:9", **state}])


def _event(reason: str, message: str, at: str = "2026-01-01T10:00:00Z") -> dict[str, Any]:
    return {"reason": reason, "message": message, "lastTimestamp": at, "involvedObject": {"name": "flowers-x"}}


def _condition(type_: str, status: str, reason: str, message: str = "because") -> dict[str, str]:
    return {"type": type_, "status": status, "reason": reason, "message": message}


def _unschedulable(message: str) -> dict[str, Any]:
    return _pod(conditions=[{"type": "PodScheduled", "reason": "Unschedulable", "message": message}])


@pytest.mark.parametrize(
    ("evidence", "reason", "fix"),
    [
        (Evidence(target=_target(seen=0)), "OperatorAbsent", "operator runs"),
        (
            Evidence(target=_target("Failed", conditions=(_condition("Validated", "False", "InvalidSpec"),))),
            "InvalidSpec",
            "Correct the spec",
        ),
        (
            Evidence(
                target=_target(
                    "Ready",
                    kind="InferenceEndpoint",
                    conditions=(
                        _condition("Ready", "True", "Ready"),
                        _condition("RollingBack", "True", "VersionGivenUp"),
                    ),
                )
            ),
            "VersionGivenUp",
            "graft models rollback",
        ),
        (
            Evidence(
                target=_target(),
                pods=[_container(state={"waiting": {"reason": "ImagePullBackOff", "message": "not found"}})],
            ),
            "ImagePull",
            "kubernetes.image",
        ),
        (
            Evidence(
                target=_target(),
                pods=[
                    _container(
                        state={"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "s3" not found'}}
                    )
                ],
            ),
            "ContainerConfig",
            "envFrom",
        ),
        (
            Evidence(target=_target(), pods=[_container(lastState={"terminated": {"reason": "OOMKilled"}})]),
            "OutOfMemory",
            "kubernetes.memory",
        ),
        (
            Evidence(target=_target(), pods=[_container(state={"waiting": {"reason": "CrashLoopBackOff"}})]),
            "CrashLoop",
            "kubectl logs",
        ),
        (
            Evidence(target=_target(), pods=[_unschedulable("0/3 nodes: 3 Insufficient nvidia.com/gpu.")]),
            "Unschedulable",
            "GPU",
        ),
        (
            Evidence(target=_target(), pods=[_unschedulable("3 node(s) had untolerated taint {spot: true}")]),
            "Unschedulable",
            "tolerations",
        ),
        (
            Evidence(target=_target(), events=[{"message": "pods is forbidden: exceeded quota: team"}]),
            "QuotaExceeded",
            "quota",
        ),
        (
            Evidence(target=_target(), events=[{"message": 'violates PodSecurity "restricted:latest"'}]),
            "PodSecurity",
            "standard",
        ),
        (
            Evidence(
                target=_target(),
                events=[_event("FailedToCreateHeadPod", 'error looking up service account team/x: "x" not found')],
            ),
            "PodRefused",
            "kubernetes.serviceAccount",
        ),
        (
            Evidence(
                target=_target(),
                events=[_event("FailedToCreateWorkerPod", "no PriorityClass with name gold was found")],
            ),
            "PodRefused",
            "kubernetes.priorityClass",
        ),
        (
            Evidence(
                target=_target(kind="InferenceEndpoint"),
                events=[_event("FailedMount", 'MountVolume.SetUp failed for volume "keys": secret "k" not found')],
            ),
            "MountFailed",
            "Create the Secret",
        ),
        (
            Evidence(
                target=_target(),
                events=[_event("DeletedHeadPod", "Ray container terminated status: &{ExitCode:137,Reason:Error}")],
            ),
            "PodDied",
            "kubernetes.memory",
        ),
        (
            Evidence(target=_target(), pods=[_unschedulable('persistentvolumeclaim "data" not found.')]),
            "Unschedulable",
            "kubernetes.volumes",
        ),
        (
            Evidence(target=_target(), pods=[_unschedulable("3 node(s) didn't match Pod's node affinity/selector.")]),
            "Unschedulable",
            "kubernetes.nodeSelector",
        ),
        (
            Evidence(target=_target(kind="InferenceEndpoint"), pods=[_unschedulable("0/3 nodes: 3 Insufficient cpu.")]),
            "Unschedulable",
            "resources.cpus",
        ),
        (
            Evidence(target=_target("Pending", conditions=(_condition("Scheduled", "False", "Refused"),))),
            "Refused",
            "tried again",
        ),
        (
            Evidence(
                target=_target(
                    "Pending",
                    kind="InferenceEndpoint",
                    conditions=(_condition("Ready", "False", "RegistryUnreachable"),),
                )
            ),
            "RegistryUnreachable",
            "MLflow server runs",
        ),
        (Evidence(target=_target("Queued")), "Queued", "workloads"),
        (
            Evidence(target=_target("Failed", conditions=(_condition("Succeeded", "False", "GateRefused"),))),
            "GateRefused",
            "gates",
        ),
        (
            Evidence(target=_target("Failed", conditions=(_condition("Succeeded", "False", "SubmissionFailed"),))),
            "SubmissionFailed",
            "graft logs",
        ),
        (
            Evidence(target=_target("Pending", conditions=(_condition("Scheduled", "False", "KubeRayMissing"),))),
            "KubeRayMissing",
            "Install KubeRay",
        ),
    ],
)
def test_one_cause_with_its_fix(evidence: Evidence, reason: str, fix: str) -> None:
    """Each known trouble is named, and says what to do."""
    cause = why(evidence)
    assert cause is not None
    assert cause.reason == reason
    assert fix in cause.fix
    assert cause.what


def test_nothing_is_wrong_with_what_works() -> None:
    """A job that trains has no cause, whatever its old pods went through."""
    running = _target("Running", conditions=(_condition("Validated", "True", "Valid"),))
    assert why(Evidence(target=running)) is None
    succeeded = _target("Succeeded", conditions=(_condition("Succeeded", "True", "Succeeded"),))
    assert why(Evidence(target=succeeded, pods=[_container(lastState={"terminated": {"reason": "OOMKilled"}})])) is None


def test_the_deepest_cause_is_named() -> None:
    """An image that cannot be pulled explains a submission that failed, not the other way round."""
    failed = _target("Failed", conditions=(_condition("Succeeded", "False", "SubmissionFailed"),))
    pods = [_container(state={"waiting": {"reason": "ErrImagePull"}})]
    cause = why(Evidence(target=failed, pods=pods))
    assert cause is not None
    assert cause.reason == "ImagePull"


def test_what_was_overcome_or_long_ago_is_no_cause() -> None:
    """Events stay for an hour: a quota that was raised explains nothing of a job that trains, or waits for another."""
    quota = _event("FailedCreate", "exceeded quota: team")
    assert why(Evidence(target=_target("Running"), events=[quota])) is None
    soon, late = datetime(2026, 1, 1, 10, 5, tzinfo=UTC), datetime(2026, 1, 1, 10, 40, tzinfo=UTC)
    found = why(Evidence(target=_target(), events=[quota], now=soon))
    assert found is not None
    assert found.reason == "QuotaExceeded"
    assert why(Evidence(target=_target(), events=[quota], now=late)) is None


def test_the_latest_event_counts() -> None:
    """The ServiceAccount was made since; now the PriorityClass is missing."""
    events = [
        _event("FailedToCreateHeadPod", "service account x not found", at="2026-01-01T10:00:00Z"),
        _event("FailedToCreateHeadPod", "no PriorityClass with name gold", at="2026-01-01T10:01:00Z"),
    ]
    found = why(Evidence(target=_target(), events=events))
    assert found is not None
    assert "PriorityClass" in found.what
