"""Which paths there are. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any
from urllib.parse import quote


class RouteKind(Enum):
    """What a path stands for."""

    ROOT = auto()
    FEEDBACK = auto()
    EXAMPLES = auto()
    EXAMPLE = auto()
    OPENAPI = auto()
    METRICS = auto()
    LIVE = auto()
    READY = auto()
    SERVER_METADATA = auto()
    MODEL_METADATA = auto()
    MODEL_READY = auto()
    INFER = auto()
    PREDICT = auto()
    STATUS = auto()
    SIGNATURES = auto()
    ROWS_PREDICT = auto()
    CLASSIFY = auto()
    REGRESS = auto()
    REPOSITORY_INDEX = auto()
    MODEL_LOAD = auto()
    MODEL_UNLOAD = auto()


@dataclass(frozen=True, kw_only=True)
class Route:
    """A path understood.

    Attributes:
        kind: what it stands for.
        name: endpoint (predict) or model (all others) it names.
        version: model version it names.
        label: label of a version it names (TensorFlow Serving).
        file: example it names.
    """

    kind: RouteKind
    name: str | None = None
    version: str | None = None
    label: str | None = None
    file: str | None = None


_FIXED = {
    "": Route(kind=RouteKind.ROOT),
    "/openapi.json": Route(kind=RouteKind.OPENAPI),
    "/metrics": Route(kind=RouteKind.METRICS),
    "/healthz": Route(kind=RouteKind.LIVE),
    "/readyz": Route(kind=RouteKind.READY),
    "/v2/repository/index": Route(kind=RouteKind.REPOSITORY_INDEX),
    "/v2": Route(kind=RouteKind.SERVER_METADATA),
    "/v2/health/live": Route(kind=RouteKind.LIVE),
    "/v2/health/ready": Route(kind=RouteKind.READY),
}
_VERBS = {"predict": RouteKind.ROWS_PREDICT, "classify": RouteKind.CLASSIFY, "regress": RouteKind.REGRESS}
REPOSITORY_CALLS = frozenset({RouteKind.REPOSITORY_INDEX, RouteKind.MODEL_LOAD, RouteKind.MODEL_UNLOAD})
_POSTED = frozenset({RouteKind.INFER, RouteKind.PREDICT, RouteKind.FEEDBACK, *REPOSITORY_CALLS, *_VERBS.values()})
_OF_MODEL = {"": RouteKind.MODEL_METADATA, "ready": RouteKind.MODEL_READY, "infer": RouteKind.INFER}


def match_route(path: str) -> Route | None:
    """What a path stands for, or None."""
    path = path.rstrip("/")
    fixed = _FIXED.get(path)
    if fixed is not None:
        return fixed
    match path.split("/")[1:]:
        case ["v1", "endpoints", name, "predict"]:
            return Route(kind=RouteKind.PREDICT, name=name)
        case ["v1", "endpoints", name, "feedback"]:
            return Route(kind=RouteKind.FEEDBACK, name=name)
        case ["v1", "endpoints", name, "examples"]:
            return Route(kind=RouteKind.EXAMPLES, name=name)
        case ["v1", "endpoints", name, "examples", file]:
            return Route(kind=RouteKind.EXAMPLE, name=name, file=file)
        case ["v1", "models", name, *more]:
            return _match_tensorflow_serving([name, *more])
        case ["v2", "repository", "models", name, "load"]:
            return Route(kind=RouteKind.MODEL_LOAD, name=name)
        case ["v2", "repository", "models", name, "unload"]:
            return Route(kind=RouteKind.MODEL_UNLOAD, name=name)
        case ["v2", "models", name]:
            return Route(kind=RouteKind.MODEL_METADATA, name=name)
        case ["v2", "models", name, "versions", version]:
            return Route(kind=RouteKind.MODEL_METADATA, name=name, version=version)
        case ["v2", "models", name, ("ready" | "infer") as action]:
            return Route(kind=_OF_MODEL[action], name=name)
        case ["v2", "models", name, "versions", version, ("ready" | "infer") as action]:
            return Route(kind=_OF_MODEL[action], name=name, version=version)
        case _:
            return None


def _match_tensorflow_serving(rest: list[str]) -> Route | None:
    """What follows `/v1/models/`: a name, a version or a label of it, and a verb or `metadata`."""
    kind = RouteKind.STATUS
    if rest[-1] == "metadata" and len(rest) in {2, 4}:
        kind, rest = RouteKind.SIGNATURES, rest[:-1]
    else:
        last, separator, verb = rest[-1].partition(":")
        if separator and verb not in _VERBS:
            return None
        kind, rest = _VERBS[verb] if separator else kind, [*rest[:-1], last]
    if not all(rest):
        return None
    match rest:
        case [name]:
            return Route(kind=kind, name=name)
        case [name, "versions", version]:
            return Route(kind=kind, name=name, version=version)
        case [name, "labels", label]:
            return Route(kind=kind, name=name, label=label)
        case _:
            return None


def allowed_methods(kind: RouteKind) -> tuple[str, ...]:
    """HTTP methods that a route takes."""
    return ("POST",) if kind in _POSTED else ("GET", "HEAD")


def predict_path(endpoint: str) -> str:
    """Path of the plain predict route."""
    return f"/v1/endpoints/{quote(endpoint)}/predict"


def feedback_path(endpoint: str) -> str:
    """Path at which is told what was right."""
    return f"/v1/endpoints/{quote(endpoint)}/feedback"


def examples_path(endpoint: str) -> str:
    """Path of the examples to try."""
    return f"/v1/endpoints/{quote(endpoint)}/examples"


def describe_routes(
    endpoint: str,
    models: list[str],
    *,
    max_request_bytes: int,
    has_examples: bool = False,
    explains: bool = False,
    takes_feedback: bool = False,
) -> dict[str, Any]:
    """Answer of `GET /` to whoever asks for no page."""
    examples = {"examples": f"GET {examples_path(endpoint)}"} if has_examples else {}
    return {
        "endpoint": endpoint,
        "models": models,
        "limits": {"maxRequestBytes": max_request_bytes},
        "explanations": ["cam"] if explains else [],
        "routes": {
            "predict": f"POST {predict_path(endpoint)}",
            **examples,
            **({"feedback": f"POST {feedback_path(endpoint)}"} if takes_feedback else {}),
            "infer": "POST /v2/models/{model}/infer",
            "model": "GET /v2/models/{model}",
            "rows": "POST /v1/models/{model}:predict, :classify or :regress",
            "signatures": "GET /v1/models/{model}/metadata",
            "live": "GET /healthz",
            "ready": "GET /readyz",
            "metrics": "GET /metrics",
            "openapi": "GET /openapi.json",
        },
    }
