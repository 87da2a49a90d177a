"""The ASGI application of an endpoint: routes, metrics, and errors as JSON. Plain ASGI: it is the hot path."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.errors import RequestError
from graftwork_serving.access.callers import CALLER, RefusedError
from graftwork_serving.deadlines import CLIENT_GONE, TIMEOUT_HEADER, allowed_s, too_late
from graftwork_serving.endpoint_config import PageConfig
from graftwork_serving.prediction_log.ids import HEADER as REQUEST_ID
from graftwork_serving.prediction_log.ids import request_id
from graftwork_serving.rollouts import Rollouts
from graftwork_serving.service import OverloadedError, PredictionService
from graftwork_serving.shadows import Shadows
from graftwork_serving.version_metrics import VersionMetrics, WatchRecord, outcome_of
from graftwork_serving.web import examples, feedback, open_inference, tensorflow_serving
from graftwork_serving.web.admission import admit
from graftwork_serving.web.body_budget import BodyBudget, BodyShare
from graftwork_serving.web.handlers import HANDLERS, Outcome
from graftwork_serving.web.messages import (
    HttpRequest,
    HttpResponse,
    Receive,
    Scope,
    Send,
    error_response,
    json_response,
    parse_query,
    read_request,
)
from graftwork_serving.web.openapi import openapi_document
from graftwork_serving.web.other_origins import for_pages_of
from graftwork_serving.web.playground.page import playground_page, wants_page
from graftwork_serving.web.repository_calls import RepositoryCalls, answer_repository_call
from graftwork_serving.web.rest_of_body import WatchedBody
from graftwork_serving.web.routes import (
    REPOSITORY_CALLS,
    Route,
    RouteKind,
    allowed_methods,
    describe_routes,
    match_route,
)

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from graftwork.metrics import ServingMetrics
    from graftwork_serving.access.callers import Caller
    from graftwork_serving.access.guard import Guard
    from graftwork_serving.drift.monitor import DriftMonitor
    from graftwork_serving.endpoint_config import ReplicaConfig
    from graftwork_serving.prediction_log.log import PredictionLog
    from graftwork_serving.repository import ModelRepository
    from graftwork_serving.routing import Arm
    from graftwork_serving.work_pool import WorkPool

_LOGGER = logging.getLogger(__name__)
# An answer given before the body was read must end the connection, or the rest would be taken for the next request.
_CLOSE = ((b"connection", b"close"),)
# How often a model is loaded for one request, where other requests have it let go meanwhile.
_MOST_LOADS = 3
# What a request may come to instead of its answer.
_REFUSALS = (RequestError, TimeoutError, OverloadedError)


class EndpointApp:
    """Answers HTTP requests, once it is configured.

    Args:
        pool: threads.
        metrics: what to count in.
        metrics_dir: directory that the replicas on this machine share.
        rollouts: told how versions that are watched do; without it none is.

    Attributes:
        repository: models that are loaded when they are asked for; None for none.
        guard: knows who may ask; None lets everyone.
        timeout_s: longest time a prediction request may take.
        log: keeps predictions; None keeps none.
        drift: watches what comes; None does not.
    """

    def __init__(
        self, pool: WorkPool, *, metrics: ServingMetrics, metrics_dir: Path, rollouts: Rollouts | None = None
    ) -> None:
        self._pool = pool
        self._versions = VersionMetrics(metrics)
        self._shadows = Shadows(pool)
        self._rollouts = rollouts or Rollouts()
        self._service: PredictionService | None = None
        self._max_request_bytes = 0
        self._page = PageConfig()
        self._outermost: ASGIApp = self._answer
        self._metrics = metrics
        self._metrics_dir = metrics_dir
        self._bodies = BodyBudget()
        self.repository: ModelRepository | None = None
        self.guard: Guard | None = None
        self.timeout_s = 0.0
        self.log: PredictionLog | None = None
        self.drift: DriftMonitor | None = None

    def configure(self, config: ReplicaConfig, arms: Sequence[Arm]) -> None:
        """Answer the requests that come from now on with these versions of models and these limits."""
        self._outermost = for_pages_of(config.allowed_origins, self._answer)
        self._pool.max_waiting = config.max_queued_requests
        self._max_request_bytes = config.max_request_bytes
        self._page = config.page
        self._bodies.make_room_for(config.max_request_bytes)
        self.timeout_s = config.timeout_s
        self._versions.endpoint = config.endpoint
        self._service = PredictionService(
            endpoint=config.endpoint,
            arms=arms,
            pool=self._pool,
            sticky_header=config.sticky_header,
            explains=config.explains,
        )

    @property
    def endpoint(self) -> str:
        """The endpoint's name; empty before it is configured."""
        return self._service.endpoint if self._service is not None else ""

    @property
    def service(self) -> PredictionService:
        """What answers, once it is configured."""
        if self._service is None:
            raise RuntimeError("the endpoint is not configured yet")
        return self._service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        match scope["type"]:
            case "http":
                await self._outermost(scope, receive, send)
            case "lifespan":
                await _live(receive, send)
            case _:
                await send({"type": "websocket.close", "code": 1003})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = WatchedBody(scope, receive)
        response = await self._respond(scope, body.receive)
        await body.discard_rest()
        await response.send(send)

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
        if route.kind is RouteKind.ROOT and self._page.enabled and _wants_page(scope):
            return playground_page()  # it tells nothing, and asks for a key itself
        try:
            caller = await admit(self.guard, service, route, scope)
        except RefusedError as error:
            self.count_refusal(error)
            headers = (*_CLOSE, *error.headers(service.endpoint))
            return error_response(error.status, error.message, headers=headers)
        CALLER.set(caller)
        if route.kind in HANDLERS:
            return await self._predict(service, route, scope, receive)
        if route.kind is RouteKind.FEEDBACK:
            return await self._take_feedback(service, route, scope, receive)
        if route.kind in REPOSITORY_CALLS:
            return await self._manage(service, route, scope, receive)
        return await self._inform(service, route, scope, caller)

    async def _manage(self, service: PredictionService, route: Route, scope: Scope, receive: Receive) -> HttpResponse:
        try:
            calls = self.repository_calls(service)
            request = await self._read_in_time(scope, receive)
            return await answer_repository_call(calls, route, request)
        except _REFUSALS as error:
            return _refusal(error, seconds=self.timeout_s, was_read=False)

    def repository_calls(self, service: PredictionService) -> RepositoryCalls:
        """What lists, loads and unloads models.

        Raises:
            RequestError: there is nothing to load from (404).
        """
        if self.repository is None:
            raise RequestError(404, "This replica loads no models.")
        return RepositoryCalls(repository=self.repository, service=service)

    async def with_model(self, service: PredictionService, name: str | None) -> PredictionService:
        """What answers requests for a model, which is loaded first if it may be and is not yet.

        Raises:
            RequestError: it cannot be loaded.
        """
        if name is None or self.repository is None or name not in self.repository.names:
            return service
        for _ in range(_MOST_LOADS):
            await self.repository.ensure(name)
            if name in self.service.models:
                break  # else somebody has had it let go before this request came to itself
        return self.service

    async def _predict(self, service: PredictionService, route: Route, scope: Scope, receive: Receive) -> HttpResponse:
        started = time.perf_counter()
        protocol, answer = HANDLERS[route.kind]
        outcome = Outcome(protocol=protocol, key=_sticky_key(scope, service.sticky_header))
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if self.log is not None:
            given = headers.get(REQUEST_ID.encode())
            outcome.request_id = request_id(None if given is None else given.decode("latin-1"))
        seconds = self.timeout_s
        try:
            seconds = allowed_s(headers.get(TIMEOUT_HEADER), most_s=self.timeout_s)
            with self._bodies.share() as share:
                read = partial(self._read, scope, receive, share, outcome)
                async with asyncio.timeout(seconds):
                    service = await self.with_model(service, _named_model(route, scope))
                    response = await answer(service, route, read, outcome)
        except _REFUSALS as error:
            response = _refusal(error, seconds=seconds, was_read=outcome.was_read)
        except Exception:
            _LOGGER.exception("A prediction request failed.")
            response = error_response(500, "The endpoint failed to answer; its log says why. The request may be fine.")
        except asyncio.CancelledError:
            self.count(service, outcome, CLIENT_GONE, time.perf_counter() - started)
            raise
        self.count(service, outcome, response.status, time.perf_counter() - started)
        if outcome.request_id:
            named = (REQUEST_ID.encode(), outcome.request_id.encode())
            response = replace(response, headers=(*response.headers, named))
        return replace(response, after_sending=self.after_answering(service, outcome))

    def after_answering(self, service: PredictionService, outcome: Outcome) -> Callable[[], None] | None:
        """What to do once the answer of a prediction request has gone; None if there is nothing to do."""
        model, prediction = service.models.get(outcome.model), outcome.prediction
        if prediction is None:
            return None
        behind = self._rollouts.behind(prediction.model)
        has_shadows = model is not None and bool(model.shadows)
        watches = self.drift is not None and prediction.model.feature_source is not None
        if not has_shadows and behind is None and not outcome.request_id and not watches:
            return None

        def follow_up() -> None:
            if outcome.request_id and self.log is not None:
                self.log.add_prediction(prediction, request_id=outcome.request_id, protocol=outcome.protocol)
            if self.drift is not None:
                self.drift.add(prediction)
            for arm in model.shadows if model is not None else ():
                self._shadows.copy(prediction, arm.model, share=arm.shadow or 0.0, record=self._versions)
            if behind is not None:
                record = WatchRecord(self._rollouts, prediction.model)
                self._shadows.copy(prediction, behind, share=1.0, record=record)

        return follow_up

    async def _take_feedback(
        self, service: PredictionService, route: Route, scope: Scope, receive: Receive
    ) -> HttpResponse:
        log = self.log
        try:
            if route.name != service.endpoint or log is None:
                raise feedback.no_log(str(route.name))
            request = await self._read_in_time(scope, receive)
            rows = feedback.parse_feedback(request.body, datetime.now(UTC))
        except _REFUSALS as error:
            return _refusal(error, seconds=self.timeout_s, was_read=False)
        if not log.add_feedback(rows):
            return _overloaded(OverloadedError(retry_after_s=1))
        return json_response({"accepted": len(rows)}, status=HTTPStatus.ACCEPTED)

    async def _read_in_time(self, scope: Scope, receive: Receive) -> HttpRequest:
        """The whole request, within the time that a request may take."""
        with self._bodies.share() as share:
            async with asyncio.timeout(self.timeout_s):
                return await read_request(scope, receive, max_bytes=self._max_request_bytes, share=share)

    async def _read(self, scope: Scope, receive: Receive, share: BodyShare, outcome: Outcome) -> HttpRequest:
        request = await read_request(scope, receive, max_bytes=self._max_request_bytes, share=share)
        outcome.was_read = True
        return request

    def count_refusal(self, error: RefusedError) -> None:
        """Count a request that its sender may not make."""
        self._metrics.refused.labels(self.endpoint, error.reason).inc()

    def count(self, service: PredictionService, outcome: Outcome, status: int, seconds: float) -> None:
        """Count a prediction request.

        Args:
            service: that was asked.
            outcome: what is known of it.
            status: HTTP status code, of other protocols too.
            seconds: until its answer.
        """
        endpoint, protocol = service.endpoint, outcome.protocol
        model = self._metrics.model_label(outcome.model)
        self._metrics.requests.labels(endpoint, model, protocol, str(status)).inc()
        self._metrics.request_seconds.labels(endpoint, model, protocol).observe(seconds)
        self._metrics.waiting.labels(endpoint).set(self._pool.waiting)
        if status == HTTPStatus.OK:
            self._metrics.examples.labels(endpoint, model).inc(outcome.examples)
        if outcome.version is not None:
            self._versions.count(outcome.version, status, seconds)
            self._watch(outcome, status)

    def _watch(self, outcome: Outcome, status: int) -> None:
        """Tell how the version did; how long a client took to send its request says nothing about it."""
        if outcome.version is None:
            return
        if outcome_of(status) == "failed":
            self._rollouts.failed(outcome.version)
        elif outcome.prediction is not None:
            self._rollouts.answered(outcome.version, outcome.prediction.seconds)

    async def _inform(self, service: PredictionService, route: Route, scope: Scope, caller: Caller) -> HttpResponse:
        match route.kind:
            case RouteKind.ROOT:
                return self._description(service, caller)
            case RouteKind.EXAMPLES | RouteKind.EXAMPLE:
                return await self._example(service, route, scope)
            case RouteKind.OPENAPI:
                return json_response(
                    openapi_document(
                        service.endpoint,
                        self._max_request_bytes,
                        takes_text={model.main.takes_text for model in service.models.values()},
                        has_examples=self._page.examples,
                        takes_feedback=self.log is not None,
                        asks_for_key=self.guard is not None,
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
                try:
                    return _describe_model(await self.with_model(service, route.name), route)
                except RequestError as error:
                    return error_response(error.status, error.message)

    def _description(self, service: PredictionService, caller: Caller) -> HttpResponse:
        """What all get at the root but browsers, which get the page."""
        description = describe_routes(
            service.endpoint,
            [name for name in service.models if caller.sees(name)],
            max_request_bytes=self._max_request_bytes,
            has_examples=self._page.examples,
            explains=service.explains,
            takes_feedback=self.log is not None,
        )
        return json_response(description, headers=((b"vary", b"accept"),))

    async def _example(self, service: PredictionService, route: Route, scope: Scope) -> HttpResponse:
        if not self._page.examples:
            return error_response(404, "This endpoint shows no examples; spec.playground.examples would allow it.")
        try:
            return await examples.answer_examples(service, route, parse_query(scope))
        except RequestError as error:
            return error_response(error.status, error.message)

    def _render_metrics(self) -> HttpResponse:
        from prometheus_client import CONTENT_TYPE_LATEST

        from graftwork.metrics import render_shared_metrics

        return HttpResponse(body=render_shared_metrics(self._metrics_dir), content_type=CONTENT_TYPE_LATEST.encode())


def _refusal(error: RequestError | TimeoutError | OverloadedError, *, seconds: float, was_read: bool) -> HttpResponse:
    """One of `_REFUSALS` as the client hears of it.

    Args:
        error: what happened.
        seconds: that the request was given.
        was_read: whether all of it had come by then.
    """
    match error:
        case OverloadedError():
            return _overloaded(error)
        case RequestError():
            return error_response(error.status, error.message, headers=_CLOSE)
        case TimeoutError():
            late = too_late(seconds, was_read=was_read)
            return error_response(late.status, late.message, headers=_CLOSE)


def _overloaded(error: OverloadedError) -> HttpResponse:
    return error_response(503, str(error), headers=((b"retry-after", str(error.retry_after_s).encode()),))


def _wants_page(scope: Scope) -> bool:
    return wants_page(dict(scope["headers"]).get(b"accept", b""))


def _ready(service: PredictionService) -> HttpResponse:
    if service.is_healthy:
        return json_response({"ready": True})
    return error_response(503, "A worker thread of the endpoint has died; the replica is about to be replaced.")


def _named_model(route: Route, scope: Scope) -> str | None:
    """The model that a prediction request names; None for the endpoint's first."""
    if route.kind is not RouteKind.PREDICT:
        return route.name
    return parse_query(scope).get("model", [None])[-1] if scope.get("query_string") else None


def _describe_model(service: PredictionService, route: Route) -> HttpResponse:
    routed = service.model(route.name)
    if route.kind in {RouteKind.STATUS, RouteKind.SIGNATURES}:
        named = tensorflow_serving.find_version(routed, route.version, route.label)
    else:
        named = None if route.version is None else routed.version(route.version)
    versions = routed.versions if named is None else (named.version,)
    model = named or routed.main
    match route.kind:
        case RouteKind.STATUS:
            return json_response(tensorflow_serving.model_status(versions))
        case RouteKind.SIGNATURES:
            return json_response(tensorflow_serving.model_metadata(model))
        case RouteKind.MODEL_READY:
            return json_response({"name": model.name, "ready": True})
        case _:
            return json_response(open_inference.model_metadata(model, routed.versions))


def _sticky_key(scope: Scope, header: str | None) -> str | None:
    if header is None:
        return None
    wanted = header.encode()
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), None)


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message: Any = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
