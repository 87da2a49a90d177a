"""A client of an endpoint's gRPC service, made from nothing but what its reflection says."""

from __future__ import annotations

from typing import Any, Self

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "inference.GRPCInferenceService"


class ReflectedClient:
    """What grpcurl does: ask for the definitions, then call.

    Args:
        address: HOST:PORT.
    """

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self.database = ProtoReflectionDescriptorDatabase(self.channel)
        self._pool = descriptor_pool.DescriptorPool(self.database)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def message(self, name: str, **fields: Any) -> Any:
        """A message of the service's package."""
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"inference.{name}"))(**fields)

    def call(self, method: str, **fields: Any) -> Any:
        """Call a method with its request's fields."""
        found = self._pool.FindServiceByName(SERVICE).methods_by_name[method]
        request, answer = (message_factory.GetMessageClass(kind) for kind in (found.input_type, found.output_type))
        asked = self.channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=answer.FromString,
        )
        return asked(request(**fields), timeout=30)
