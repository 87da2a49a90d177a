"""What the operator reports in `status`. No I/O here.

Unlike specs these are read from where an older or newer operator wrote them: unknown keys are left out.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from graftwork.spec.base import PositiveInt

ConditionStatus = Literal["True", "False", "Unknown"]
JobPhase = Literal["Pending", "Queued", "Starting", "Running", "Suspended", "Waiting", "Succeeded", "Failed"]
ENDED: frozenset[JobPhase] = frozenset({"Succeeded", "Failed"})
EndpointPhase = Literal["Pending", "Starting", "Ready", "Degraded", "Failed"]


class StatusModel(BaseModel):
    """Base of all status objects."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
        validate_by_alias=True,
        validate_by_name=True,
    )


class Condition(StatusModel):
    """One aspect of an object's state."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """Which aspect, such as `Succeeded`."""
    status: ConditionStatus
    """Whether it holds."""
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """Why, in one CamelCase word."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """Why, for a person; with the fix where there is something to fix."""
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When `status` last changed."""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The object's generation that this is about."""


class JobStatus(StatusModel):
    """How far a FineTuneJob is."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The object's generation that this is about."""
    phase: JobPhase = "Pending"
    """Where it stands, in one word."""
    message: str = ""
    """Where it stands, in one sentence."""
    ray_job: str | None = None
    """The RayJob that trains."""
    spec_digest: str | None = None
    """Digest of what is trained; another one means a new RayJob."""
    placement_digest: str | None = None
    """Digest of how it is run on the cluster; after a failure another one means another try."""
    start_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """When training was first seen running."""
    completion_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """When it ended."""
    attempts: Annotated[int, Field(ge=0)] = 0
    """Clusters that failed so far."""
    progress: str | None = None
    """How far the training is, such as `head 3/10`."""
    run_id: str | None = None
    """The run, as `graft jobs` names it."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Metrics of the test set."""
    accuracy: str | None = None
    """Accuracy on the test set, for the table `kubectl get` prints."""
    model: str | None = None
    """What was registered, as `NAME/VERSION`; with a schedule, by the last run that registered something."""
    last_run: str | None = None
    """With a schedule: the FineTuneJob of the last run."""
    active_runs: list[str] = Field(default_factory=list)
    """With a schedule: the FineTuneJobs of runs that are under way."""
    next_run_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """With a schedule: when the next run begins."""
    last_schedule_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """With a schedule: up to when all times are dealt with; their runs were started, or they were passed over."""
    schedule_digest: str | None = None
    """Digest of the schedule that these times are of."""
    conditions: list[Condition] = Field(default_factory=list)
    """Its state, aspect by aspect."""


class EndpointModelStatus(StatusModel):
    """One model an endpoint was told to serve."""

    model: str
    """As the spec names it."""
    resolved: str
    """What that is now, as `NAME/VERSION`."""
    serving: str | None = None
    """What answers in its place, where replicas gave that version up (`rollout.rollback`)."""


class EndpointStatus(StatusModel):
    """How an InferenceEndpoint is."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The object's generation that this is about."""
    phase: EndpointPhase = "Pending"
    """How it is, in one word."""
    message: str = ""
    """How it is, in one sentence."""
    ray_service: str | None = None
    """The RayService that answers."""
    url: str | None = None
    """Where it answers inside the cluster."""
    external_url: str | None = None
    """Where it answers outside the cluster."""
    grpc_address: str | None = None
    """Where it answers gRPC inside the cluster, as HOST:PORT."""
    models: list[EndpointModelStatus] = Field(default_factory=list)
    """What it was told to serve."""
    model: str | None = None
    """The first model, for the table `kubectl get` prints."""
    replicas: Annotated[int, Field(ge=0)] = 0
    """Replicas that answer."""
    max_replicas: PositiveInt | None = None
    """Most replicas it may have."""
    selector: str | None = None
    """Label selector of its pods."""
    conditions: list[Condition] = Field(default_factory=list)
    """Its state, aspect by aspect."""
