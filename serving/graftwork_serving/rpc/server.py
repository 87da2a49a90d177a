"""The gRPC server of one replica: the inference service, the standard health service, and reflection.

Every replica listens on the endpoint's port itself (SO_REUSEPORT): the system shares connections out among them. A
connection stays with its replica, as gRPC clients keep theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from graftwork_serving.rpc.access import AccessInterceptor
from graftwork_serving.rpc.messages import SERVICE, pool
from graftwork_serving.rpc.servicer import InferenceServicer

if TYPE_CHECKING:
    from graftwork_serving.endpoint_config import GrpcConfig
    from graftwork_serving.web.app import EndpointApp

# What a message has beside its tensors.
_ENVELOPE_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class GrpcServer:
    """A server that runs.

    Attributes:
        config: what it was started with.
        max_request_bytes: largest request.
    """

    config: GrpcConfig
    max_request_bytes: int
    _server: Any
    _health: Any

    async def stop(self, grace_s: float) -> None:
        """Take no new connections and calls; let those in progress finish, for so long at most."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)


async def start_server(app: EndpointApp, config: GrpcConfig, *, max_request_bytes: int) -> GrpcServer:
    """Listen.

    Args:
        app: answers; already configured.
        config: where.
        max_request_bytes: largest request.

    Raises:
        RuntimeError: the port is taken.
    """
    server = grpc.aio.server(
        interceptors=(AccessInterceptor(app),),
        options=(
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", max_request_bytes + _ENVELOPE_BYTES),
        ),
    )
    handlers = InferenceServicer(app).handlers()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    state = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(state, server)
    for name in ("", SERVICE):
        await state.set(name, health_pb2.HealthCheckResponse.SERVING)
    _reflect(server)
    host = f"[{config.host}]" if ":" in config.host else config.host
    server.add_insecure_port(f"{host}:{config.port}")
    await server.start()
    return GrpcServer(config=config, max_request_bytes=max_request_bytes, _server=server, _health=state)


def _reflect(server: Any) -> None:
    known = pool()
    for module in (health_pb2, reflection_pb2):
        known.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server, known)
