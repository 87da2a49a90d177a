"""What a replica is told: the endpoint spec with its models resolved to directories. Plain data, JSON-ready."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from graftwork.spec.engine import EngineName
from graftwork.spec.precision import Precision


class ModelConfig(BaseModel):
    """One bundle to serve."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Name in request URLs."""
    version: str
    """Version in answers: the registry's number, or the start of the bundle's digest."""
    path: str
    """Bundle directory."""
    digest: str
    """Of the bundle's content."""
    reference: str
    """How the spec names it, such as `flowers@champion`: stays when the alias moves."""
    source: str
    """What names this very version: `NAME/VERSION` in the registry, or the bundle directory."""
    alias: str | None = None
    """Alias by which the spec names it; the label of its version in requests."""
    takes_text: bool = False
    """Whether it takes texts; otherwise pictures."""
    traffic: int = 100
    """Percent of the requests for its name that it answers."""
    shadow: float | None = None
    """Share of the requests for its name of which it gets a copy; None for one that answers."""


class GrpcConfig(BaseModel):
    """Where replicas listen for gRPC."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    """Address."""
    port: int
    """TCP port, which the replicas of a machine share."""


class PageConfig(BaseModel):
    """The page at the endpoint's root."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    """Whether there is one."""
    examples: bool = False
    """Whether golden examples are shown to clients."""


class TokenConfig(BaseModel):
    """Which tokens count."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str
    """Who signs."""
    audience: str
    """For whom."""
    keys: str | None
    """URL or path of the public keys; None to ask the issuer."""
    algorithms: list[str]
    """Signatures that count."""
    leeway_s: int
    """How far clocks may differ."""
    models_claim: str | None = None
    """Claim that names the models; None for all models."""
    requests_per_second: float | None = None
    """Predictions that each subject may ask for in the long run."""
    burst: int | None = None
    """Predictions at once beyond that."""


class AccessConfig(BaseModel):
    """Who may ask."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys_file: str | None = None
    """File of key hashes; None where keys do not count."""
    tokens: TokenConfig | None = None
    """Which tokens count; None for none."""
    open_metrics: bool = False
    """Whether metrics need no key, as only this machine reaches them."""


class RollbackConfig(BaseModel):
    """What a version to which an alias has moved has to keep to; None where there is no bound."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_error_rate: float | None
    """Share of its requests that may fail."""
    max_latency_s: float | None
    """95th percentile of the time to answer."""
    max_disagreement: float | None
    """Share of examples it may answer differently from the version before."""
    window_s: float
    """How long it is watched."""
    min_requests: int
    """Requests, or examples compared, that a judgement needs."""


class DriftConfig(BaseModel):
    """How much is looked at for drift."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample: float
    """Share of the examples."""
    window: int
    """Newest examples that are compared."""


class PredictionLogConfig(BaseModel):
    """Where predictions are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    """Directory."""
    sample: float
    """Share of the requests."""
    inputs: bool
    """Whether inputs are kept, too."""
    max_bytes: int
    """Most bytes in the directory."""


class RepositoryConfig(BaseModel):
    """Models that are loaded when they are asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: list[ModelConfig]
    """All that are offered; a path that leads nowhere on this machine is fetched from the registry."""
    memory_bytes: int
    """What those that are loaded may take, about."""


class ReplicaConfig(BaseModel):
    """All of it; changes are applied in place."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint: str
    """Endpoint's name."""
    models: list[ModelConfig]
    """The first one answers where a request names none."""
    max_batch_size: int
    """Most examples in one pass."""
    engine: EngineName = "openvino"
    """What computes predictions."""
    on_gpu: bool = False
    """Whether it has a GPU."""
    precision: Precision = "float32"
    """Numbers that engines compute in."""
    max_request_bytes: int
    """Largest request body."""
    max_image_pixels: int
    """Largest picture."""
    max_queued_requests: int
    """Requests that may wait in one replica."""
    timeout_s: float = 60
    """Longest time a request may take."""
    sticky_header: str | None = None
    """Header by whose value clients keep to one version, in lower case."""
    page: PageConfig = PageConfig()
    """The page at the endpoint's root."""
    allowed_origins: list[str] = Field(default_factory=list)
    """Origins whose pages may ask from a browser; `*` for all."""
    prediction_log: PredictionLogConfig | None = None
    """Where predictions are kept; None nowhere."""
    drift: DriftConfig | None = None
    """How much is looked at for drift; None nothing."""
    explains: bool = True
    """Whether it may be asked what answers rest on."""
    repository: RepositoryConfig | None = None
    """Models that are loaded when they are asked for; None for none."""
    rollback: RollbackConfig | None = None
    """When to go back to the version before; None never."""
    grpc: GrpcConfig | None = None
    """Where replicas listen for gRPC; None nowhere."""
    access: AccessConfig | None = None
    """Who may ask; None everyone."""
