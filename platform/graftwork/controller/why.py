"""Why a job or an endpoint does not get on: one cause and one remedy, from what the cluster tells. Pure.

The causes are looked for in the order in which they hide each other: an image that cannot be pulled explains a cluster
that does not start, which explains a job that is not submitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from graftwork.controller.ray_status import KUBERAY

Object = Mapping[str, Any]

_PULL_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CONFIG_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError"})
_NO_POD_REASONS = frozenset({"FailedToCreateHeadPod", "FailedToCreateWorkerPod", "FailedCreate"})
# KubeRay tries again after a quarter of an hour at the latest.
_FRESH = timedelta(minutes=20)
_MEMORY_FIXES = {
    "FineTuneJob": "Raise kubernetes.memory, or lower training.batchSize or use training.gradientAccumulation.",
    "InferenceEndpoint": "Raise kubernetes.memory, or serve fewer models.",
}
# By words of the message; the first that fits. The last fits all.
_NO_POD_FIXES = {
    "service account": "Create the ServiceAccount, or correct kubernetes.serviceAccount.",
    "PriorityClass": "Create the PriorityClass, or correct kubernetes.priorityClass.",
    "": "Correct what it names in `kubernetes`, or show this to whoever runs the cluster.",
}
_DEATH_FIXES = {
    "ExitCode:137": "Raise kubernetes.memory: it was killed, most likely for want of memory.",
    "ExitCode:127": "Name an image of Graftwork in kubernetes.image: this one lacks the command.",
    "": "Read its log while it lasts: kubectl logs -f POD. See that kubernetes.image is of the operator's version.",
}
_MOUNT_FIX = "Create the Secret, ConfigMap or volume that it names, or correct the spec (auth.apiKeys, kubernetes)."


def _no_node_fixes(*, cpus: str, gpus: str) -> dict[str, str]:
    """By words of what the scheduler says, for a kind that asks for cores and GPUs with these fields."""
    less = f"Ask for less ({cpus}, kubernetes.memory), or add nodes."
    return {
        "nvidia.com/gpu": f"Ask for fewer GPUs ({gpus}), or add GPU nodes.",
        "persistentvolumeclaim": "Create the PersistentVolumeClaim, or correct kubernetes.volumes.",
        "taint": "Add tolerations for the nodes' taints (kubernetes.tolerations, or kubernetes.workers.tolerations for "
        "pods that compute), or choose others with nodeSelector there.",
        "Insufficient": less,
        "selector": "Correct kubernetes.nodeSelector or kubernetes.workers.nodeSelector, or label nodes so.",
        "": less,
    }


_NO_NODE_FIXES = {
    "FineTuneJob": _no_node_fixes(cpus="scaling.cpusPerWorker", gpus="scaling.workers, scaling.gpusPerWorker"),
    "InferenceEndpoint": _no_node_fixes(cpus="resources.cpus", gpus="resources.gpus, autoscaling.maxReplicas"),
}


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why it does not get on.

    Attributes:
        reason: CamelCase word.
        what: what is the matter.
        fix: what to do.
    """

    reason: str
    what: str
    fix: str


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the cluster tells.

    Attributes:
        target: the FineTuneJob or InferenceEndpoint.
        pods: its pods.
        events: events of it and of all its objects.
        now: the time; events of long ago are left out. None keeps all.
    """

    target: Object
    pods: Sequence[Object] = ()
    events: Sequence[Object] = ()
    now: datetime | None = None


def why(evidence: Evidence) -> Cause | None:
    """The cause; None if nothing is wrong."""
    for look in (_unseen, _refused, _admission, _pods, _deaths, _queue, _condition):
        if (cause := look(evidence)) is not None:
            return cause
    return None


def _status(evidence: Evidence) -> Mapping[str, Any]:
    status: Mapping[str, Any] = evidence.target.get("status") or {}
    return status


def _conditions(evidence: Evidence) -> dict[str, Mapping[str, Any]]:
    return {each["type"]: each for each in _status(evidence).get("conditions") or ()}


def _unseen(evidence: Evidence) -> Cause | None:
    if _status(evidence).get("observedGeneration", 0) >= evidence.target["metadata"].get("generation", 0):
        return None
    return Cause(
        reason="OperatorAbsent",
        what="No operator has looked at it since it was applied.",
        fix="See that the graftwork operator runs and that its `namespaces` hold this one.",
    )


def _refused(evidence: Evidence) -> Cause | None:
    validated = _conditions(evidence).get("Validated")
    if validated is None or validated["status"] != "False":
        return None
    return Cause(reason="InvalidSpec", what=validated["message"], fix="Correct the spec and apply it again.")


def _admission(evidence: Evidence) -> Cause | None:
    """What kept pods from being made at all."""
    for event in _news(evidence):
        message, reason = event.get("message", ""), event.get("reason", "")
        if "exceeded quota" in message:
            return Cause(
                reason="QuotaExceeded",
                what=message,
                fix="Ask for less (scaling, kubernetes.memory), free some, or have the namespace's quota raised.",
            )
        if "violates PodSecurity" in message:
            return Cause(reason="PodSecurity", what=message, fix="Show this to whoever set the namespace's standard.")
        if reason in _NO_POD_REASONS:
            return Cause(reason="PodRefused", what=message, fix=_fix_of(message, _NO_POD_FIXES))
    return None


def _deaths(evidence: Evidence) -> Cause | None:
    """What pods died of that are gone, or cannot begin for; later looks say more where containers tell themselves."""
    for event in _news(evidence):
        message, reason = event.get("message", ""), event.get("reason", "")
        if reason == "FailedMount":
            what = f"{event['involvedObject'].get('name', 'A pod')}: {message}"
            return Cause(reason="MountFailed", what=what, fix=_MOUNT_FIX)
        if reason == "DeletedHeadPod" and "ExitCode:" in message:
            return Cause(reason="PodDied", what=message, fix=_fix_of(message, _DEATH_FIXES))
    return None


def _news(evidence: Evidence) -> Iterator[Object]:
    """Events that may still matter, the latest first: nothing that was overcome, and nothing of long ago."""
    if _status(evidence).get("phase") in {"Running", "Ready", "Succeeded", "Suspended"}:
        return
    since = "" if evidence.now is None else (evidence.now - _FRESH).strftime("%Y-%m-%dT%H:%M:%SZ")
    fresh = ((_seen_at(event), event) for event in evidence.events)
    for at, event in sorted(fresh, key=lambda pair: pair[0], reverse=True):
        if not at or at >= since:
            yield event


def _seen_at(event: Object) -> str:
    """When an event was last seen, in UTC; empty where it does not say. Texts of this form sort by time."""
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "")


def _fix_of(message: str, fixes: Mapping[str, str]) -> str:
    return next(fix for words, fix in fixes.items() if words in message)


def _pods(evidence: Evidence) -> Cause | None:
    ended = _status(evidence).get("phase") in {"Succeeded", "Ready", "Suspended"}
    if ended:
        return None
    kind = evidence.target["kind"]
    for pod in evidence.pods:
        name = pod["metadata"]["name"]
        for container, state in _container_states(pod):
            if (cause := _container(f"{name}/{container}", state, kind)) is not None:
                return cause
    return next((cause for pod in evidence.pods if (cause := _unschedulable(pod, kind)) is not None), None)


def _container_states(pod: Object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    status = pod.get("status") or {}
    for key in ("initContainerStatuses", "containerStatuses"):
        for each in status.get(key) or ():
            yield each["name"], each


def _container(name: str, status: Mapping[str, Any], kind: str) -> Cause | None:
    waiting = (status.get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _PULL_REASONS:
        return Cause(
            reason="ImagePull",
            what=f"{name}: the image {status.get('image', '')} cannot be pulled. {message}".strip(),
            fix="Correct kubernetes.image, or name credentials in kubernetes.imagePullSecrets.",
        )
    if reason in _CONFIG_REASONS:
        return Cause(
            reason="ContainerConfig",
            what=f"{name}: {message}",
            fix="Create the Secret or ConfigMap it names, or correct kubernetes.env and kubernetes.envFrom.",
        )
    states = (status.get("state") or {}, status.get("lastState") or {})
    for terminated in (state["terminated"] for state in states if state.get("terminated")):
        if terminated.get("reason") == "OOMKilled":
            return Cause(
                reason="OutOfMemory",
                what=f"{name} needed more memory than it may have.",
                fix=_MEMORY_FIXES[kind],
            )
    if reason == "CrashLoopBackOff":
        return Cause(reason="CrashLoop", what=f"{name} ends again and again.", fix=f"Read its log: kubectl logs {name}")
    return None


def _unschedulable(pod: Object, kind: str) -> Cause | None:
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            message = condition.get("message", "")
            what = f"{pod['metadata']['name']} fits on no node: {message}"
            return Cause(reason="Unschedulable", what=what, fix=_fix_of(message, _NO_NODE_FIXES[kind]))
    return None


def _queue(evidence: Evidence) -> Cause | None:
    if _status(evidence).get("phase") != "Queued":
        return None
    queue = evidence.target["spec"].get("kubernetes", {}).get("queue")
    return Cause(
        reason="Queued",
        what=f"It waits in the Kueue queue {queue}.",
        fix="Wait, or see who is before it: kubectl get workloads. Another queue is set with kubernetes.queue.",
    )


_FIXES = {
    "GateRefused": "Train better, or set evaluation.gates to what the model can reach.",
    "SubmissionFailed": "Read the submitter's log: graft logs NAME. Often the head lacked memory: kubernetes.memory.",
    "AppFailed": "Read the log: graft logs NAME.",
    "TrainingFailed": "Read the log: graft logs NAME. A loss that is not a number wants a lower learningRate.",
    "DeadlineExceeded": "Allow more with kubernetes.deadline, or train for less.",
    "KubeRayMissing": f"Install KubeRay {KUBERAY}.",
    "GatewayApiMissing": "Install the Gateway API, or use kubernetes.expose.ingress.",
    "ModelNotFound": "Register the model, or correct spec.models.",
    "RegistryUnreachable": "See that the MLflow server runs.",
    "NameTaken": "Delete the other object, or choose another name.",
    "PodsRefused": "Correct what it names in `kubernetes`, or show this to whoever runs the cluster.",
    "Refused": "Mend what it names, or show this to whoever runs the cluster; it is tried again by itself.",
    "VersionGivenUp": "Register a better version, or point the alias back: graft models rollback NAME ALIAS. "
    "Bounds that are too strict stand in spec.rollout.rollback.",
    "ReplicaFailed": "Read the log: graft logs NAME.",
}


def _condition(evidence: Evidence) -> Cause | None:
    """What the operator says itself."""
    conditions = _conditions(evidence)
    for type_, bad in (
        ("Scheduled", "False"),
        ("Succeeded", "False"),
        ("Degraded", "True"),
        ("Ready", "False"),
        ("RollingBack", "True"),
        ("ModelsCurrent", "Unknown"),
    ):
        found = conditions.get(type_)
        if found is None or found["status"] != bad or (type_ == "Scheduled" and found["reason"] not in _FIXES):
            continue
        what = found.get("message") or _status(evidence).get("message") or found["reason"]
        return Cause(reason=found["reason"], what=what, fix=_FIXES.get(found["reason"], "Look again in a minute."))
    return None
