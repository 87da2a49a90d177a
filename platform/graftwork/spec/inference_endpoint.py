"""The InferenceEndpoint: which bundles to serve, and with how much. No I/O here.

A field stands here only when it works. Field docstrings become the JSON Schema, the CRD and the reference page.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from graftwork.spec.base import HEADER_PATTERN, Inconsistency, Name, SpecModel, SpecObject, Text, Uri, refuse_if_any
from graftwork.spec.cors import Cors
from graftwork.spec.endpoint_access import Auth, open_listener
from graftwork.spec.endpoint_observation import Drift, PredictionLog
from graftwork.spec.engine import EngineName
from graftwork.spec.placement import EndpointPlacement
from graftwork.spec.precision import Precision
from graftwork.spec.references import REFERENCES, version_as_elsewhere
from graftwork.spec.repository import Repository
from graftwork.spec.rollout import Rollout
from graftwork.spec.traffic import Share, name_in_requests, share_problems


class ServedModel(SpecModel):
    """One bundle behind the endpoint. Entries that share a name are versions of one model, which share its requests."""

    model: Uri
    """`NAME@ALIAS` or `NAME/VERSION` in the registry, or the path of a bundle directory."""
    name: Name | None = None
    """Name in request URLs. Default: the registered model's name, or the bundle directory's."""
    traffic: Annotated[int, Field(ge=0, le=100)] | None = None
    """Percent of the requests for its name that this entry answers; all entries of a name have 100 in all. Requests
    that name a version or label in their URL reach that one."""
    shadow: Annotated[float, Field(gt=0, le=1)] | None = None
    """Makes this entry a shadow: it gets a copy of this share of the requests for its name, after their answers have
    gone and while the replica has nothing else to do, and what it says is compared (metrics), never sent."""

    @property
    def name_in_requests(self) -> str:
        """What requests call it, as far as the spec alone tells."""
        return self.name or name_in_requests(self.model)

    @model_validator(mode="after")
    def _is_named_as_here_and_answers_or_shadows(self) -> Self:
        meant = version_as_elsewhere(self.model)
        refuse_if_any(
            Inconsistency(
                at=("model",),
                received=f"`{self.model}`, a number behind a model's name",
                expected=REFERENCES,
                fix=f"Write `{meant.name}/{meant.version}` for version {meant.version}.",
            )
            if meant is not None
            else None,
            Inconsistency(
                at=("traffic",),
                received="`traffic` of a `shadow`",
                expected="one of the two",
                fix="Remove one: a shadow never answers.",
                involves=(("shadow",),),
            )
            if self.traffic is not None and self.shadow is not None
            else None,
        )
        return self


class Routing(SpecModel):
    """How requests are shared among the entries of one name."""

    sticky_header: Annotated[str, Field(min_length=1, max_length=100, pattern=HEADER_PATTERN)] | None = None
    """HTTP header or gRPC metadata key, such as `x-user-id`, by which a client keeps to one version: the same value
    gets the same entry on every replica, and a change of `traffic` moves as few values as it can. Default: each request
    by itself."""


class Autoscaling(SpecModel):
    """How many replicas answer."""

    min_replicas: Annotated[int, Field(ge=0)] = 1
    """Replicas kept while idle. With 0 the first request after a quiet time, be it for `/readyz` or `/metrics`, waits
    until a replica has started, and counts as one that somebody needs answered."""
    max_replicas: Annotated[int, Field(ge=1)] = 1
    """Most replicas under load."""
    target_ongoing_requests: Annotated[float, Field(gt=0)] = 8
    """Requests in progress per replica that the autoscaler aims at."""
    upscale_delay_seconds: Annotated[float, Field(ge=0, le=3600)] = 5
    """How long the load must ask for more replicas before they are started."""
    downscale_delay_seconds: Annotated[float, Field(ge=0, le=86400)] = 300
    """How long the load must ask for fewer before some are stopped."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        refuse_if_any(
            Inconsistency(
                at=("maxReplicas",),
                received=f"{self.max_replicas}, below `minReplicas` {self.min_replicas}",
                expected="`maxReplicas` >= `minReplicas`",
                fix=f"Use {self.min_replicas} or more.",
                involves=(("minReplicas",),),
            )
            if self.max_replicas < self.min_replicas
            else None
        )
        return self


class Batching(SpecModel):
    """How requests that wait at the same time share one pass through the model."""

    max_batch_size: Annotated[int, Field(ge=1, le=1024)] = 16
    """Most examples in one pass. How many really share one is measured when the model is loaded: as many as make a pass
    cheaper an example on this processor. A request never waits for others to come."""


class Resources(SpecModel):
    """What one replica gets."""

    cpus: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    """CPU cores: the replica's inference and decoding threads and, on Kubernetes, its resource request. `auto` shares
    the machine's cores among `maxReplicas`."""
    gpus: Annotated[float, Field(ge=0, le=1)] = 0
    """GPU: 1, or the share of one that the replica has beside others."""


class Limits(SpecModel):
    """What a request may be."""

    max_request_bytes: Annotated[int, Field(ge=1024)] = 10 * 1024 * 1024
    """Largest request body in bytes; larger ones are refused with status 413."""
    max_image_pixels: Annotated[int, Field(ge=1024)] = 50_000_000
    """Largest picture in pixels (height times width); larger ones are refused with status 413."""
    max_queued_requests: Annotated[int, Field(ge=1)] = 256
    """Requests that may wait at one replica; further ones are refused with status 503 and Retry-After."""
    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 60
    """Longest time from a request's first byte to its answer; later it gets status 504, or 408 if it was slow to
    come. What is not computed by then never is. Clients ask for less with the header `x-request-timeout: SECONDS`, or
    with the deadline of a gRPC call."""


class HttpListener(SpecModel):
    """Where the endpoint listens on one machine (a cluster has Services for that)."""

    host: Text = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """TCP port."""


class GrpcListener(SpecModel):
    """Where the endpoint listens for the Open Inference Protocol over gRPC on one machine."""

    host: Text = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8001
    """TCP port."""


class Playground(SpecModel):
    """The page at the endpoint's root, where a person gives a model a picture or a text and sees what it says."""

    enabled: bool = True
    """Whether browsers get the page; otherwise they get the description that all others get."""
    examples: bool = False
    """Whether the golden examples of the bundles may be tried there. They are part of the test data; whoever may ask
    the endpoint can then see them."""


class InferenceEndpointSpec(SpecModel):
    """Which bundles to serve, and with how much."""

    models: Annotated[list[ServedModel], Field(min_length=1)]
    """Bundles behind the endpoint; the first one answers where a request names none. Entries that share a name are
    versions of one model: `traffic` shares its requests among them."""
    routing: Routing = Routing()
    """How requests are shared among versions of one model."""
    rollout: Rollout = Rollout()
    """How the endpoint follows moved aliases, and when it goes back."""
    repository: Repository | None = None
    """Registered models that are loaded when they are asked for. Default: none."""
    engine: Literal["auto", EngineName] = "auto"
    """What computes predictions: OpenVINO on CPU, or JAX on the GPU that `resources.gpus` asks for; `auto` goes by
    that. `jax` takes a CPU, too, more slowly, and needs `graftwork[serve-gpu]`."""
    precision: Precision = "float32"
    """Numbers the engine computes in. `bfloat16` answers more requests a second on CPUs that have it (AVX-512 BF16,
    AMX), uses the tensor cores of NVIDIA GPUs from compute capability 8.0 on, and is less exact: a model is served in
    it only if its golden examples get the trained model's answers and scores within 0.1 of its own (for numbers: of a
    standard deviation). Other processors refuse it. Explanations and drift are computed in float32."""
    autoscaling: Autoscaling = Autoscaling()
    """How many replicas answer."""
    batching: Batching = Batching()
    """How waiting requests share a pass through the model."""
    resources: Resources = Resources()
    """What one replica gets."""
    limits: Limits = Limits()
    """What a request may be."""
    http: HttpListener = HttpListener()
    """Where the endpoint listens on one machine."""
    grpc: GrpcListener | None = None
    """Where the endpoint listens for gRPC on one machine (`{}` for the default port). Default: nowhere. On Kubernetes
    it says that there is a Service for gRPC, `NAME-grpc`, on port 8001."""
    explanations: Literal["cam", "none"] = "cam"
    """What clients may ask about an answer. `cam`: which parts of a picture it rests on (`?explain=cam`), computed on a
    thread of its own when asked for. `none`: nothing."""
    prediction_log: PredictionLog | None = None
    """Keeps a sample of the predictions in files. Default: none are kept."""
    drift: Drift | None = None
    """Watches whether what comes is still like what the models were tested on. Default: nothing is watched."""
    playground: Playground = Playground()
    """The page at the endpoint's root to try the models on."""
    cors: Cors = Cors()
    """Which other web pages may ask from a browser."""
    auth: Auth | None = None
    """Who may ask; `none` lets everyone. Default: everyone on a loopback address of this machine. Wherever other
    machines reach the endpoint, and on Kubernetes, this has to be said."""
    kubernetes: EndpointPlacement = EndpointPlacement()
    """How the endpoint runs on Kubernetes; ignored on one machine."""

    @property
    def engine_name(self) -> EngineName:
        """The engine meant by `auto`, or the one named."""
        if self.engine != "auto":
            return self.engine
        return "jax" if self.resources.gpus else "openvino"

    @model_validator(mode="after")
    def _has_what_the_engine_needs(self) -> Self:
        refuse_if_any(
            Inconsistency(
                at=("resources", "gpus"),
                received=f"{self.resources.gpus:g}, while OpenVINO computes on CPU",
                expected="0 with `engine: openvino`",
                fix="Remove `engine`, or `gpus`.",
                involves=(("engine",),),
            )
            if self.engine == "openvino" and self.resources.gpus
            else None,
        )
        return self

    @model_validator(mode="after")
    def _says_who_may_ask(self) -> Self:
        refuse_if_any(
            open_listener(self.auth, section="http", host=self.http.host)
            or open_listener(self.auth, section="grpc", host=self.grpc.host if self.grpc is not None else None)
        )
        return self

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        refuse_if_any(
            Inconsistency(
                at=("grpc", "port"),
                received=f"{self.http.port}, which is `http.port` too",
                expected="a port of its own",
                fix="Choose another one.",
                involves=(("http", "port"),),
            )
            if self.grpc is not None and self.grpc.port == self.http.port
            else None
        )
        return self

    @model_validator(mode="after")
    def _somebody_listens(self) -> Self:
        refuse_if_any(
            Inconsistency(
                at=("autoscaling", "minReplicas"),
                received="0, while replicas listen for gRPC themselves",
                expected="a replica that does, with `grpc`",
                fix="Use 1, or remove `grpc`.",
                involves=(("grpc",),),
            )
            if self.grpc is not None and self.autoscaling.min_replicas == 0
            else None
        )
        return self

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        shares = [
            Share(name=served.name_in_requests, reference=served.model, traffic=served.traffic, shadow=served.shadow)
            for served in self.models
        ]
        refuse_if_any(*share_problems(shares))
        return self


class InferenceEndpoint(SpecObject):
    """A named HTTP service over one or more bundles; its name is part of the predict URL."""

    kind: Literal["InferenceEndpoint"]
    """Always `InferenceEndpoint`."""
    spec: InferenceEndpointSpec
    """The endpoint."""
