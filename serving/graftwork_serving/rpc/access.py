"""Asks who calls before a gRPC method gets its message, and keeps callers to their models."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc_health.v1 import health

from graftwork_serving.access.callers import CALLER, Caller, RefusedError
from graftwork_serving.rpc.messages import SERVICE

if TYPE_CHECKING:
    from graftwork_serving.web.app import EndpointApp

# What load balancers ask, which have no key.
_OPEN: Final = (f"/{SERVICE}/ServerLive", f"/{SERVICE}/ServerReady", f"/{health.SERVICE_NAME}/")
_PREDICT: Final = f"/{SERVICE}/ModelInfer"
_CODES: Final = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
# After how long gRPC clients with a retry policy come back. Source: gRPC proposal A6, server pushback.
PUSHBACK: Final = "grpc-retry-pushback-ms"

# Where a message names its model, if it does.
_MODEL_FIELDS: Final = ("model_name", "name")

_Call = Callable[[Any, Any], Awaitable[Any]]


class AccessInterceptor(grpc.aio.ServerInterceptor):
    """Stands before all methods.

    Args:
        app: has the guard, and counts refusals.
    """

    def __init__(self, app: EndpointApp) -> None:
        self._app = app

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> grpc.RpcMethodHandler | None:
        """The method's handler, or one that refuses without reading the message."""
        guard, method = self._app.guard, handler_call_details.method
        handler = await continuation(handler_call_details)
        if guard is None or handler is None or method.startswith(_OPEN):
            return handler
        try:
            caller = await guard.admit(_headers(handler_call_details.invocation_metadata))
            if method == _PREDICT:
                guard.count_prediction(caller)
        except RefusedError as error:
            return self._refusing(error)
        if handler.unary_unary is None:
            return handler  # reflection names no model
        return grpc.unary_unary_rpc_method_handler(
            self._for_models_of(caller, handler.unary_unary),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _for_models_of(self, caller: Caller, call: _Call) -> _Call:
        async def checked(request: Any, context: Any) -> Any:
            field = next((each for each in _MODEL_FIELDS if hasattr(request, each)), None)
            try:
                if field is not None:
                    caller.check_model(getattr(request, field) or self._app.service.model().name)
            except RefusedError as error:
                return await self._refuse(context, error)
            CALLER.set(caller)
            return await call(request, context)

        return checked

    def _refusing(self, error: RefusedError) -> grpc.RpcMethodHandler:
        async def refuse(requests: Any, context: Any) -> Any:
            await self._refuse(context, error)

        # Unlike the other kinds of handlers, one that takes a stream is called before any message has come.
        return grpc.stream_unary_rpc_method_handler(refuse)

    async def _refuse(self, context: Any, error: RefusedError) -> None:
        self._app.count_refusal(error)
        if error.retry_after_s is not None:
            context.set_trailing_metadata(((PUSHBACK, str(error.retry_after_s * 1000)),))
        await context.abort(_CODES[error.status], error.message)


def _headers(metadata: Any) -> dict[bytes, bytes]:
    """Metadata as HTTP has it; names are lower case already."""
    return {
        key.encode(): value.encode("latin-1", "replace") if isinstance(value, str) else value for key, value in metadata
    }
