"""Pods of Ray on a cluster: locked down the same way everywhere, placed as a spec asks. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from graftwork.controller import names
from graftwork.spec.placement import POD_HOME, Placement, Toleration, Topology, Variable, WorkerPlacement

RAY_VERSION: Final = "2.60.0"
"""What the images hold; the same as in pyproject.toml (a test compares)."""
HEAD_START_CPUS: Final = 1
"""What a head may take beyond what is set aside for it: half a dozen of Ray's processes start in it at once, and Ray
gives up on a head that takes more than 30 seconds."""
HOME: Final = POD_HOME
USER_ID: Final = 1000
_GROUP_READS: Final = 0o440
CONTAINER_SECURITY: Final[Mapping[str, Any]] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


@dataclass(frozen=True, kw_only=True)
class PodDefaults:
    """What the operator was installed with.

    Attributes:
        train_image: image of jobs.
        serve_image: image of endpoints.
        tracking_uri: MLflow server, as pods reach it; None without one.
        env_from: Secrets whose entries all pods get as environment variables, if the namespace has them.
        pull_secrets: Secrets with credentials for images, besides those that a spec names.
    """

    train_image: str
    serve_image: str
    tracking_uri: str | None = None
    env_from: tuple[str, ...] = ()
    pull_secrets: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Pod:
    """One kind of pod.

    Attributes:
        container: name of its container; KubeRay expects its own.
        image: default image.
        placement: what the spec says.
        computes: whether it trains or answers, and goes where such pods go.
        defaults: what the operator was installed with.
        cpus: cores at most, and requested unless `requested_cpus` says less.
        requested_cpus: cores set aside for a pod that mostly waits.
        memory: requested and at most.
        gpus: whole GPUs.
        env: further variables.
        labels: further labels.
        service_account: in whose name it runs.
        token: whether its ServiceAccount's token is mounted.
        mounts: ConfigMaps to mount: folder by name.
        secrets: Secrets to mount: folder by name.
        ports: TCP ports that others ask for by name; KubeRay adds Ray's own.
        command: replaces the image's.
    """

    container: str
    image: str
    placement: Placement
    computes: bool = False
    defaults: PodDefaults
    cpus: float
    requested_cpus: float | None = None
    memory: str
    gpus: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    service_account: str
    token: bool = False
    mounts: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    command: Sequence[str] = ()


def pod_template(pod: Pod) -> dict[str, Any]:
    """A pod template that passes the "restricted" pod security standard."""
    placement = pod.placement
    spec: dict[str, Any] = {
        "serviceAccountName": pod.service_account,
        "automountServiceAccountToken": pod.token,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(pod)],
        "volumes": [
            {"name": "home", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            *({"name": name, "configMap": {"name": name}} for name in pod.mounts),
            *(
                {"name": _secret_volume(name), "secret": {"secretName": name, "defaultMode": _GROUP_READS}}
                for name in pod.secrets
            ),
            *(
                {
                    "name": f"volume-{place}",
                    "persistentVolumeClaim": {"claimName": volume.claim, "readOnly": volume.read_only},
                }
                for place, volume in enumerate(placement.volumes)
            ),
        ],
    }
    if pull_secrets := dict.fromkeys([*pod.defaults.pull_secrets, *placement.image_pull_secrets]):
        spec["imagePullSecrets"] = [{"name": name} for name in pull_secrets]
    workers = placement.workers if pod.computes else WorkerPlacement()
    if selector := {**placement.node_selector, **workers.node_selector}:
        spec["nodeSelector"] = selector
    if tolerations := [*placement.tolerations, *workers.tolerations]:
        spec["tolerations"] = [_toleration(each) for each in tolerations]
    if pod.computes and placement.topology is not None:
        spec |= _nearness(placement.topology, pod.labels)
    if placement.priority_class is not None:
        spec["priorityClassName"] = placement.priority_class
    return {"metadata": {"labels": dict(pod.labels)}, "spec": spec}


def _nearness(topology: Topology, labels: Mapping[str, str]) -> dict[str, Any]:
    """Wishes, not conditions: where there is no such room, the pods start all the same."""
    others = {"matchLabels": {**labels, names.RAY_NODE_TYPE_LABEL: "worker"}}
    if topology.pack is not None:
        term = {"weight": 100, "podAffinityTerm": {"topologyKey": topology.pack, "labelSelector": others}}
        return {"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}}
    constraint = {
        "topologyKey": topology.spread,
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": others,
    }
    return {"topologySpreadConstraints": [constraint]}


def _container(pod: Pod) -> dict[str, Any]:
    amounts: dict[str, str] = {"cpu": f"{pod.cpus:g}", "memory": pod.memory}
    if pod.gpus:
        amounts["nvidia.com/gpu"] = str(pod.gpus)
    set_aside = {} if pod.requested_cpus is None else {"cpu": f"{pod.requested_cpus:g}"}
    container: dict[str, Any] = {
        "name": pod.container,
        "image": pod.placement.image or pod.image,
        "env": _environment(pod),
        "resources": {"requests": {**amounts, **set_aside}, "limits": amounts},
        "securityContext": dict(CONTAINER_SECURITY),
        "volumeMounts": [
            {"name": "home", "mountPath": HOME},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 (a folder of the pod's own)
            *({"name": name, "mountPath": folder, "readOnly": True} for name, folder in pod.mounts.items()),
            *(
                {"name": _secret_volume(name), "mountPath": folder, "readOnly": True}
                for name, folder in pod.secrets.items()
            ),
            *(
                {"name": f"volume-{place}", "mountPath": volume.path, "readOnly": volume.read_only}
                for place, volume in enumerate(pod.placement.volumes)
            ),
        ],
    }
    secrets = [
        *({"secretRef": {"name": name, "optional": True}} for name in pod.defaults.env_from),
        *({"secretRef": {"name": name}} for name in pod.placement.env_from),
    ]
    if secrets:
        container["envFrom"] = secrets
    if pod.ports:
        container["ports"] = [{"name": name, "containerPort": port} for name, port in pod.ports.items()]
    if pod.command:
        container["command"] = list(pod.command)
    return container


def _secret_volume(name: str) -> str:
    """Name of a Secret's volume, apart from ConfigMaps that may be called like it."""
    return f"secret-{names.digest_of(name)}"


def _environment(pod: Pod) -> list[dict[str, Any]]:
    values = {
        "HOME": HOME,
        "GRAFT_HOME": f"{HOME}/.graftwork",
        "PYTHONDONTWRITEBYTECODE": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        **({"MLFLOW_TRACKING_URI": pod.defaults.tracking_uri} if pod.defaults.tracking_uri else {}),
        **pod.env,
    }
    given = {variable.name for variable in pod.placement.env}
    ours: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in values.items() if name not in given]
    return ours + [_variable(variable) for variable in pod.placement.env]


def _variable(variable: Variable) -> dict[str, Any]:
    if variable.secret is None:
        return {"name": variable.name, "value": variable.value or ""}
    reference = {"name": variable.secret.name, "key": variable.secret.key}
    return {"name": variable.name, "valueFrom": {"secretKeyRef": reference}}


def _toleration(toleration: Toleration) -> dict[str, Any]:
    return toleration.model_dump(mode="json", by_alias=True, exclude_none=True)
