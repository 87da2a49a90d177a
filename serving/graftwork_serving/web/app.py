"""The ASGI application of an endpoint: routes, metrics, and errors as JSON. Plain ASGI: it is the hot path."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from graftwork.errors import RequestError
from graftwork_serving.service import OverloadedError, PredictionService
from graftwork_serving.web import binary_tensors, open_inference, plain, plain_text
from graftwork_serving.web.messages import (
    HttpRequest,
    HttpResponse,
    Receive,
    Scope,
    Send,
    error_response,
    json_response,
    read_request,
)
from graftwork_serving.web.openapi import openapi_document
from graftwork_serving.web.rest_of_body import WatchedBody
from graftwork_serving.web.routes import (
    Route,
    RouteKind,
    allowed_methods,
    describe_routes,
    match_route,
)

if TYPE_CHECKING:
    from graftwork.metrics import ServingMetrics
    from graftwork_serving.endpoint_config import ReplicaConfig
    from graftwork_serving.served_model import ServedModel
    from graftwork_serving.work_pool import WorkPool

_T = TypeVar("_T")
_LOGGER = logging.getLogger(__name__)
# JSON bodies above this size are parsed in a thread: a large tensor would stop the event loop for everyone.
_LARGE_BODY_BYTES = 32 * 1024
# An answer given before the body was read must end the connection, or the rest would be taken for the next request.
_CLOSE = ((b"connection", b"close"),)


@dataclass(kw_only=True)
class _Outcome:
    """What is known of a prediction request for the metrics."""

    protocol: str
    model: str = ""
    examples: int = 0


class EndpointApp:
    """Answers HTTP requests, once it is configured.

    Args:
        pool: threads.
        metrics: what to count in.
        metrics_dir: directory that the replicas on this machine share.
    """

    def __init__(self, pool: WorkPool, *, metrics: ServingMetrics, metrics_dir: Path) -> None:
        self._pool = pool
        self._service: PredictionService | None = None
        self._max_request_bytes = 0
        self._metrics = metrics
        self._metrics_dir = metrics_dir

    def configure(self, config: ReplicaConfig, models: Sequence[ServedModel]) -> None:
        """Answer the requests that come from now on with these models and limits."""
        self._pool.max_waiting = config.max_queued_requests
        self._max_request_bytes = config.max_request_bytes
        self._service = PredictionService(endpoint=config.endpoint, models=models, pool=self._pool)

    @property
    def endpoint(self) -> str:
        """The endpoint's name; empty before it is configured."""
        return self._service.endpoint if self._service is not None else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        match scope["type"]:
            case "http":
                body = WatchedBody(scope, receive)
                response = await self._respond(scope, body.receive)
                await body.discard_rest()
                await response.send(send)
            case "lifespan":
                await _live(receive, send)
            case _:
                await send({"type": "websocket.close", "code": 1003})

    async def _respond(self, scope: Scope, receive: Receive) -> HttpResponse:
        method, path, service = scope["method"], scope["path"], self._service
        if service is None:
            return error_response(503, "The endpoint is starting. Try again in a moment.", headers=_CLOSE)
        route = match_route(path)
        if route is None:
            return error_response(404, f"There is nothing at {path[:200]}. GET / lists the routes.", headers=_CLOSE)
        if method not in allowed_methods(route.kind):
            allowed = ", ".join(allowed_methods(route.kind))
            return error_response(
                405,
                f"{path[:200]} does not take {method}. Use {allowed}.",
                headers=(*_CLOSE, (b"allow", allowed.encode())),
            )
        match route.kind:
            case RouteKind.PREDICT | RouteKind.INFER:
                return await self._predict(service, route, scope, receive)
            case _:
                return await self._inform(service, route)

    async def _predict(self, service: PredictionService, route: Route, scope: Scope, receive: Receive) -> HttpResponse:
        started = time.perf_counter()
        outcome = _Outcome(protocol="v2" if route.kind is RouteKind.INFER else "plain")
        try:
            if route.kind is RouteKind.INFER:
                response = await self._infer_v2(service, route, scope, receive, outcome)
            else:
                response = await self._predict_plain(service, route, scope, receive, outcome)
        except RequestError as error:
            response = error_response(error.status, error.message, headers=_CLOSE)
        except OverloadedError as error:
            retry_after = (b"retry-after", str(error.retry_after_s).encode())
            response = error_response(503, str(error), headers=(retry_after,))
        except Exception:
            _LOGGER.exception("A prediction request failed.")
            response = error_response(500, "The endpoint failed to answer; its log says why. The request may be fine.")
        self._count(service, outcome, response.status, time.perf_counter() - started)
        return response

    async def _predict_plain(
        self, service: PredictionService, route: Route, scope: Scope, receive: Receive, outcome: _Outcome
    ) -> HttpResponse:
        if route.name != service.endpoint:
            raise RequestError(
                404, f"There is no endpoint {route.name!r} here. Use /v1/endpoints/{service.endpoint}/predict."
            )
        request = await read_request(scope, receive, max_bytes=self._max_request_bytes)
        model = service.find(request.query["model"][-1] if "model" in request.query else None)
        outcome.model = model.name
        top = plain.parse_top(request, labels=len(model.answers.labels))
        files = plain_text.parse_texts(request) if model.takes_text else plain.parse_files(request)
        outcome.examples = len(files)
        prediction = await service.predict(model, [file.data for file in files])
        return json_response(plain.encode_prediction(prediction, files, top=top))

    async def _infer_v2(
        self, service: PredictionService, route: Route, scope: Scope, receive: Receive, outcome: _Outcome
    ) -> HttpResponse:
        model = service.find(route.name, route.version)
        outcome.model = model.name
        request = await read_request(scope, receive, max_bytes=self._max_request_bytes)
        parsed = await _off_loop(
            request, lambda: open_inference.parse_infer(request, model.reader.spec, tuple(model.answers.tensors()))
        )
        outcome.examples = len(parsed.examples)
        prediction = await service.predict(model, parsed.examples)
        answer = open_inference.encode_infer(prediction, parsed)
        response = json_response(answer.document)
        return response if answer.behind is None else _with_values(response, answer.behind)

    def _count(self, service: PredictionService, outcome: _Outcome, status: int, seconds: float) -> None:
        endpoint, model, protocol = service.endpoint, outcome.model, outcome.protocol
        self._metrics.requests.labels(endpoint, model, protocol, str(status)).inc()
        self._metrics.request_seconds.labels(endpoint, model, protocol).observe(seconds)
        self._metrics.waiting.labels(endpoint).set(self._pool.waiting)
        if status == HTTPStatus.OK:
            self._metrics.examples.labels(endpoint, model).inc(outcome.examples)

    async def _inform(self, service: PredictionService, route: Route) -> HttpResponse:
        match route.kind:
            case RouteKind.ROOT:
                return json_response(describe_routes(service.endpoint, list(service.models)))
            case RouteKind.OPENAPI:
                return json_response(
                    openapi_document(
                        service.endpoint,
                        self._max_request_bytes,
                        takes_text={model.takes_text for model in service.models.values()},
                    )
                )
            case RouteKind.METRICS:
                return await asyncio.to_thread(self._render_metrics)
            case RouteKind.LIVE:
                return json_response({"live": True})
            case RouteKind.READY:
                return _ready(service)
            case RouteKind.SERVER_METADATA:
                return json_response(open_inference.server_metadata())
            case _:
                return _describe_model(service, route)

    def _render_metrics(self) -> HttpResponse:
        from prometheus_client import CONTENT_TYPE_LATEST

        from graftwork.metrics import render_shared_metrics

        return HttpResponse(body=render_shared_metrics(self._metrics_dir), content_type=CONTENT_TYPE_LATEST.encode())


def _with_values(head: HttpResponse, behind: bytes) -> HttpResponse:
    """JSON with values behind it."""
    length = str(len(head.body)).encode()
    return HttpResponse(
        body=head.body + behind,
        content_type=binary_tensors.CONTENT_TYPE,
        headers=((binary_tensors.LENGTH_HEADER, length),),
    )


def _ready(service: PredictionService) -> HttpResponse:
    if service.is_healthy:
        return json_response({"ready": True})
    return error_response(503, "A worker thread of the endpoint has died; the replica is about to be replaced.")


def _describe_model(service: PredictionService, route: Route) -> HttpResponse:
    try:
        model = service.find(route.name, route.version)
    except RequestError as error:
        return error_response(error.status, error.message)
    if route.kind is RouteKind.MODEL_READY:
        return json_response({"name": model.name, "ready": True})
    return json_response(open_inference.model_metadata(model))


async def _off_loop(request: HttpRequest, function: Callable[[], _T]) -> _T:
    if len(request.body) < _LARGE_BODY_BYTES:
        return function()
    return await asyncio.to_thread(function)


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message: Any = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
