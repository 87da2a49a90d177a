"""The methods of `inference.GRPCInferenceService`, asked of the service that all protocols share."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NoReturn

import grpc

from graftwork.errors import RequestError
from graftwork_serving.deadlines import CLIENT_GONE, too_late
from graftwork_serving.prediction_log.ids import HEADER as REQUEST_ID
from graftwork_serving.prediction_log.ids import request_id
from graftwork_serving.rpc import translate
from graftwork_serving.rpc.access import PUSHBACK
from graftwork_serving.rpc.messages import message_class, methods
from graftwork_serving.service import OverloadedError, PredictionService
from graftwork_serving.web import explanations, open_inference
from graftwork_serving.web.handlers import LARGE_BODY_BYTES, Outcome
from graftwork_serving.web.repository_calls import EXTENSION, RepositoryCalls

if TYPE_CHECKING:
    from graftwork_serving.web.app import EndpointApp

_LOGGER = logging.getLogger(__name__)
_CODES: Final = {
    HTTPStatus.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    HTTPStatus.CONFLICT: grpc.StatusCode.FAILED_PRECONDITION,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    HTTPStatus.INTERNAL_SERVER_ERROR: grpc.StatusCode.INTERNAL,
}


class InferenceServicer:
    """Answers the methods.

    Args:
        app: has the models and counts requests.
    """

    def __init__(self, app: EndpointApp) -> None:
        self._app = app

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """A handler for each method."""
        answers: dict[str, Callable[[Any, Any], Awaitable[Any]]] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
            "RepositoryIndex": self._repository_index,
            "RepositoryModelLoad": self._repository_model_load,
            "RepositoryModelUnload": self._repository_model_unload,
        }
        return {
            name: grpc.unary_unary_rpc_method_handler(
                answers[name],
                request_deserializer=request.FromString,
                response_serializer=answer.SerializeToString,
            )
            for name, (request, answer) in methods().items()
        }

    async def _server_live(self, request: Any, context: Any) -> Any:
        return message_class("ServerLiveResponse")(live=True)

    async def _server_ready(self, request: Any, context: Any) -> Any:
        return message_class("ServerReadyResponse")(ready=self._app.service.is_healthy)

    async def _model_ready(self, request: Any, context: Any) -> Any:
        try:
            service = await self._app.with_model(self._app.service, request.name or None)
            service.find(request.name or None, request.version or None)
        except RequestError as error:
            return await _refuse(context, error.status, error.message)
        return message_class("ModelReadyResponse")(ready=self._app.service.is_healthy)

    async def _server_metadata(self, request: Any, context: Any) -> Any:
        about = open_inference.server_metadata()
        # Binary tensors are HTTP's; here all may come as bytes.
        return message_class("ServerMetadataResponse")(
            name=about["name"], version=about["version"], extensions=[EXTENSION]
        )

    async def _model_metadata(self, request: Any, context: Any) -> Any:
        try:
            service = await self._app.with_model(self._app.service, request.name or None)
            routed = service.model(request.name or None)
            model = routed.version(request.version) if request.version else routed.main
        except RequestError as error:
            return await _refuse(context, error.status, error.message)
        about = open_inference.model_metadata(model, routed.versions)
        del about["parameters"]  # has no place in the message
        return message_class("ModelMetadataResponse")(**about)

    async def _repository_index(self, request: Any, context: Any) -> Any:
        try:
            calls = self._app.repository_calls(self._app.service)
        except RequestError as error:
            return await _refuse(context, error.status, error.message)
        rows = calls.index(ready_only=request.ready)
        return message_class("RepositoryIndexResponse")(models=rows)

    async def _repository_model_load(self, request: Any, context: Any) -> Any:
        return await self._change(request, context, RepositoryCalls.load, "RepositoryModelLoadResponse")

    async def _repository_model_unload(self, request: Any, context: Any) -> Any:
        return await self._change(request, context, RepositoryCalls.unload, "RepositoryModelUnloadResponse")

    async def _change(
        self, request: Any, context: Any, call: Callable[[RepositoryCalls, str, Any], Awaitable[None]], answer: str
    ) -> Any:
        """Load a model, or let it go."""
        try:
            await call(self._app.repository_calls(self._app.service), request.model_name, request.parameters)
        except RequestError as error:
            return await _refuse(context, error.status, error.message)
        return message_class(answer)()

    async def _model_infer(self, request: Any, context: Any) -> Any:
        started, service = time.perf_counter(), self._app.service
        outcome = Outcome(protocol="grpc", key=_sticky_key(context, service.sticky_header))
        if self._app.log is not None:
            outcome.request_id = request_id(dict(context.invocation_metadata() or ()).get(REQUEST_ID))
            await context.send_initial_metadata(((REQUEST_ID, outcome.request_id),))
        status, refusal = HTTPStatus.OK.value, ""
        answer: Any = None
        # A call whose client is gone, or no longer waits, is cancelled by the server itself.
        seconds = self._app.timeout_s
        try:
            async with asyncio.timeout(seconds):
                service = await self._app.with_model(service, request.model_name or None)
                answer = await _infer(service, request, outcome)
        except RequestError as error:
            status, refusal = error.status, error.message
        except OverloadedError as error:
            status, refusal = (
                HTTPStatus.SERVICE_UNAVAILABLE.value,
                "Too many requests wait at this endpoint. Try again.",
            )
            context.set_trailing_metadata(((PUSHBACK, str(error.retry_after_s * 1000)),))
        except TimeoutError:
            late = too_late(seconds, was_read=True)
            status, refusal = late.status, late.message
        except asyncio.CancelledError:
            self._app.count(service, outcome, CLIENT_GONE, time.perf_counter() - started)
            raise
        except Exception:
            _LOGGER.exception("A gRPC prediction request failed.")
            status = HTTPStatus.INTERNAL_SERVER_ERROR.value
            refusal = "The endpoint failed to answer; its log says why. The request may be fine."
        self._app.count(service, outcome, status, time.perf_counter() - started)
        if (after := self._app.after_answering(service, outcome)) is not None:
            context.add_done_callback(lambda _: after())
        return answer if answer is not None else await _refuse(context, status, refusal)


async def _infer(service: PredictionService, request: Any, outcome: Outcome) -> Any:
    model = service.find(request.model_name or None, request.model_version or None, key=outcome.key)
    outcome.version = model
    tensors = tuple(model.answers.tensors())
    if request.raw_input_contents or request.ByteSize() < LARGE_BODY_BYTES:
        parsed = translate.parse_infer(request, model.reader.spec, tensors)
    else:
        parsed = await asyncio.to_thread(translate.parse_infer, request, model.reader.spec, tensors)
    wanted = explanations.parse_wanted(service, model, parsed.explain, parsed.explain_label)
    prediction = await outcome.predict(service, model, parsed.examples)
    explained = await explanations.shares_of(service, prediction, parsed.examples, wanted)
    return translate.encode_infer(prediction, parsed, explained)


def _sticky_key(context: Any, header: str | None) -> str | None:
    if header is None:
        return None
    value = next((value for name, value in context.invocation_metadata() or () if name == header), None)
    return value.decode("latin-1") if isinstance(value, bytes) else value


async def _refuse(context: Any, status: int, message: str) -> NoReturn:
    """End the call; `status` is what an HTTP request would get."""
    await context.abort(_CODES.get(HTTPStatus(status), grpc.StatusCode.INVALID_ARGUMENT), message)
    raise AssertionError("abort raises")  # pragma: no cover
