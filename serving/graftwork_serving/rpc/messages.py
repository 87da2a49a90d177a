"""Message classes of `open_inference.proto`, in a descriptor pool of their own.

Programs that use a client library of the protocol have messages of the same names in protobuf's default pool, which
refuses a second definition.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE: Final = "inference.GRPCInferenceService"
PROTO_FILE: Final = Path(__file__).with_name("open_inference.proto")
DESCRIPTOR_FILE: Final = PROTO_FILE.with_suffix(".binpb")


@cache
def pool() -> descriptor_pool.DescriptorPool:
    """The pool with the protocol's definitions; others may be added."""
    descriptors = descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTOR_FILE.read_bytes())
    made = descriptor_pool.DescriptorPool()
    for file in descriptors.file:
        made.Add(file)
    return made


@cache
def message_class(name: str) -> Any:
    """The class of a message, such as `ModelInferRequest`."""
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(f"inference.{name}"))


def methods() -> dict[str, tuple[Any, Any]]:
    """The service's methods: classes of request and answer by name."""
    service = pool().FindServiceByName(SERVICE)
    return {
        method.name: (message_class(method.input_type.name), message_class(method.output_type.name))
        for method in service.methods
    }
