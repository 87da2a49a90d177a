"""The `kubernetes` sections of both kinds: how their pods are placed, and what these need. No I/O here.

`graft run` and `graft serve` leave the section out; the operator follows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from graftwork.spec.amounts import Duration, Memory
from graftwork.spec.base import (
    Inconsistency,
    LabelKey,
    LabelValue,
    Name,
    SpecModel,
    Text,
    Uri,
    exactly_one,
    refuse_if_any,
)

VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
PATH_PATTERN = r"^/.+$"
POD_HOME: Final = "/home/graft"
"""Where pods keep what lives as long as they do."""
TAKEN_PATHS: Final = ("/", "/tmp", POD_HOME)  # noqa: S108 (of pods)
"""Folders of pods where no volume can be mounted."""
HOST_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+$"


class SecretKey(SpecModel):
    """One entry of a Secret in the object's namespace."""

    name: Name
    """The Secret."""
    key: Text
    """The entry."""


class Variable(SpecModel):
    """An environment variable of the pods. Exactly one of `value` and `secret`."""

    name: Annotated[str, Field(min_length=1, pattern=VARIABLE_PATTERN)]
    """Its name."""
    value: str | None = None
    """Its value, readable by whoever may read the object."""
    secret: SecretKey | None = None
    """Where its value comes from, for what must not be read in the object."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        refuse_if_any(exactly_one(self, "value", "secret"))
        return self


class Volume(SpecModel):
    """A PersistentVolumeClaim in the object's namespace, mounted into every pod."""

    claim: Name
    """The claim."""
    path: Annotated[str, Field(pattern=PATH_PATTERN)]
    """Folder in the pods."""
    read_only: bool = False
    """Whether pods may only read it."""


class Toleration(SpecModel):
    """A taint that the pods put up with, as in a pod's own specification."""

    key: Text | None = None
    """Key of the taint. Default: any."""
    operator: Literal["Exists", "Equal"] = "Exists"
    """`Exists` looks at the key only, `Equal` at the value too."""
    value: LabelValue | None = None
    """Value of the taint, with `Equal`."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint. Default: any."""

    @model_validator(mode="after")
    def _value_is_compared(self) -> Self:
        refuse_if_any(
            Inconsistency(
                at=("value",),
                received=f"`{self.value}` with `operator: Exists`",
                expected="a value with `operator: Equal` only",
                fix="Add `operator: Equal`, or remove `value`.",
                involves=(("operator",),),
            )
            if self.operator == "Exists" and self.value is not None
            else None
        )
        return self


class WorkerPlacement(SpecModel):
    """Where the pods that compute go, besides what holds for all pods."""

    node_selector: dict[str, LabelValue] = Field(default_factory=dict)
    """Labels that their nodes must have, such as `nvidia.com/gpu.product` or that of spot nodes."""
    tolerations: list[Toleration] = Field(default_factory=list)
    """Taints of nodes that they put up with."""


class Topology(SpecModel):
    """Nearness of the pods that compute, as far as there is room. Exactly one of the two."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"pack": "topology.kubernetes.io/zone"}]})

    pack: LabelKey | None = None
    """Label of nodes, such as one of their zone or rack, whose value all should share: workers exchange gradients."""
    spread: LabelKey | None = None
    """Label of nodes over whose values they should be spread evenly: one zone lost takes few replicas."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        refuse_if_any(exactly_one(self, "pack", "spread"))
        return self


class Placement(SpecModel):
    """What the pods of both kinds can be told."""

    image: Text | None = None
    """Image of the pods. Default: the one the operator was installed with."""
    image_pull_secrets: list[Name] = Field(default_factory=list)
    """Secrets with credentials for the image's registry."""
    service_account: Name | None = None
    """ServiceAccount of the pods, such as one with access to object storage. Default: one without any rights of its
    own."""
    memory: Memory = "4Gi"
    """Memory of each pod that computes: requested and at most."""
    node_selector: dict[str, LabelValue] = Field(default_factory=dict)
    """Labels that the pods' nodes must have."""
    tolerations: list[Toleration] = Field(default_factory=list)
    """Taints of nodes that the pods put up with, such as those of spot or GPU nodes."""
    workers: WorkerPlacement = Field(default_factory=WorkerPlacement)
    """More of the kind for the pods that compute: a job's workers, an endpoint's replicas. So they go to spot or GPU
    nodes, while the head, which must not be lost and needs no GPU, stays elsewhere. (A job without `storage` has one
    pod, which computes.)"""
    topology: Topology | None = None
    """How near to each other the pods that compute should be. Default: wherever there is room."""
    queue: Name | None = None
    """Kueue LocalQueue that admits the pods. Default: no queue."""
    priority_class: Name | None = None
    """PriorityClass of the pods."""
    env: list[Variable] = Field(default_factory=list)
    """Environment variables of the pods."""
    env_from: list[Name] = Field(default_factory=list)
    """Secrets whose entries all become environment variables, such as storage credentials."""
    volumes: list[Volume] = Field(default_factory=list)
    """PersistentVolumeClaims to mount."""

    @model_validator(mode="after")
    def _places_of_their_own(self) -> Self:
        refuse_if_any(*self._paths_taken(), *self._variables_twice())
        return self

    def _paths_taken(self) -> Iterator[Inconsistency]:
        paths = [volume.path.rstrip("/") or "/" for volume in self.volumes]
        for place, path in enumerate(paths):
            if path in TAKEN_PATHS or path in paths[:place]:
                yield Inconsistency(
                    at=("volumes", place, "path"),
                    received=f"`{self.volumes[place].path}`, where something else is mounted",
                    expected=f"a folder of its own, other than {', '.join(TAKEN_PATHS)}",
                    fix="Mount it elsewhere, such as at /data.",
                )

    def _variables_twice(self) -> Iterator[Inconsistency]:
        names = [variable.name for variable in self.env]
        for place, name in enumerate(names):
            if name in names[:place]:
                yield Inconsistency(
                    at=("env", place, "name"),
                    received=f"`{name}`, which stands there already",
                    expected="each variable once",
                    fix="Remove it.",
                )


class JobPlacement(Placement):
    """How a job runs on Kubernetes; ignored by `graft run`."""

    storage: Uri | None = None
    """Where checkpoints are kept; needed for more than one worker. A path on one of the `volumes` keeps runs as well,
    so that a new cluster goes on where the last one was. A URI such as `s3://BUCKET/FOLDER` lets lost workers go on; a
    job whose whole cluster was lost begins anew."""
    suspend: bool = False
    """Whether to stop the job and give its pods back; set to false, it goes on from its last checkpoint."""
    retries: Annotated[int, Field(ge=0, le=100)] = 2
    """How often a job whose cluster failed gets a new one."""
    deadline: Duration | None = None
    """Longest time the job may run, such as `2h`; then it fails."""
    start_deadline: Duration | None = None
    """Longest time the job may wait for its pods, such as `30m`; then it fails."""
    ttl_after_finished: Duration | None = None
    """When the finished object is deleted, such as `24h`. Default: never."""


class IngressRoute(SpecModel):
    """An Ingress, for whichever controller the cluster has."""

    class_name: Name | None = None
    """IngressClass. Default: the cluster's default."""
    tls_secret: Name | None = None
    """Secret with the host's certificate and key. Default: no TLS."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """What the controller is told, such as how large a body may be."""


class GatewayRoute(SpecModel):
    """An HTTPRoute of the Gateway API; the Gateway itself is the cluster's, and so is TLS."""

    name: Name
    """The Gateway."""
    namespace: Name | None = None
    """Its namespace. Default: the endpoint's."""
    listener: Name | None = None
    """Which of its listeners. Default: any that takes the host."""


class Exposure(SpecModel):
    """How an endpoint is reached from outside the cluster. Exactly one of `ingress` and `gateway`."""

    host: Annotated[str, Field(pattern=HOST_PATTERN, max_length=253)]
    """Name under which it is reached, such as `flowers.example.org`."""
    ingress: IngressRoute | None = None
    """By an Ingress (`{}` for the cluster's default class)."""
    gateway: GatewayRoute | None = None
    """By a Gateway."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        refuse_if_any(exactly_one(self, "ingress", "gateway"))
        return self


class EndpointPlacement(Placement):
    """How an endpoint runs on Kubernetes; ignored by `graft serve`."""

    expose: Exposure | None = None
    """How it is reached from outside. Default: not at all; inside the cluster it has a Service."""
