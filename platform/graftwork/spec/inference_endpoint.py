"""The InferenceEndpoint: which bundles to serve, and with how much. No I/O here.

A field stands here only when it works. Field docstrings become the JSON Schema, the CRD and the reference page.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from graftwork.spec.base import Inconsistency, Name, SpecModel, SpecObject, Text, Uri, refuse_if_any
from graftwork.spec.placement import EndpointPlacement


class ServedModel(SpecModel):
    """One bundle behind the endpoint."""

    model: Uri
    """`NAME@ALIAS` or `NAME/VERSION` in the registry, or the path of a bundle directory."""
    name: Name | None = None
    """Name in request URLs. Default: the registered model's name, or the bundle directory's."""


class Autoscaling(SpecModel):
    """How many replicas answer."""

    min_replicas: Annotated[int, Field(ge=1)] = 1
    """Replicas kept while idle."""
    max_replicas: Annotated[int, Field(ge=1)] = 1
    """Replicas under load."""
    target_ongoing_requests: Annotated[float, Field(gt=0)] = 8
    """Requests in progress per replica that the autoscaler aims at."""

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
    """CPU cores: the replica's inference and decoding threads and its Ray resource request. `auto` shares the machine's
    cores among `maxReplicas`."""


class Limits(SpecModel):
    """What a request may be."""

    max_request_bytes: Annotated[int, Field(ge=1024)] = 10 * 1024 * 1024
    """Largest request body in bytes; larger ones are refused with status 413."""
    max_image_pixels: Annotated[int, Field(ge=1024)] = 50_000_000
    """Largest picture in pixels (height times width); larger ones are refused with status 413."""
    max_queued_requests: Annotated[int, Field(ge=1)] = 256
    """Requests that may wait at one replica; further ones are refused with status 503 and Retry-After."""


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


class InferenceEndpointSpec(SpecModel):
    """Which bundles to serve, and with how much."""

    models: Annotated[list[ServedModel], Field(min_length=1)]
    """Bundles behind the endpoint; the first one answers where a request names none."""
    engine: Literal["auto", "openvino"] = "auto"
    """What computes predictions. `auto` is `openvino` on CPU."""
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
    kubernetes: EndpointPlacement = EndpointPlacement()
    """How the endpoint runs on Kubernetes; ignored on one machine."""

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
    def _names_differ(self) -> Self:
        names = [served.name or served.model for served in self.models]
        refuse_if_any(
            *(
                Inconsistency(
                    at=("models", position),
                    received=f"`{name}`, which an earlier model has",
                    expected="another model, or the same one under another `name`",
                    fix="Add a `name` of its own, or remove the entry.",
                )
                for position, name in enumerate(names)
                if name in names[:position]
            )
        )
        return self


class InferenceEndpoint(SpecObject):
    """A named HTTP service over one or more bundles; its name is part of the predict URL."""

    kind: Literal["InferenceEndpoint"]
    """Always `InferenceEndpoint`."""
    spec: InferenceEndpointSpec
    """The endpoint."""
