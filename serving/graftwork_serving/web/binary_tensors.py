"""The binary tensor data extension of the Open Inference Protocol: values behind the JSON instead of within it. Pure.

Source: https://github.com/triton-inference-server/server, docs/protocol/extension_binary_data.md.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from graftwork.errors import RequestError
from graftwork_serving.web.messages import HttpRequest
from graftwork_serving.web.values import parameters_of

EXTENSION: Final = "binary_tensor_data"
LENGTH_HEADER: Final = b"inference-header-content-length"
CONTENT_TYPE: Final = b"application/octet-stream"
_LENGTH = struct.Struct("<I")
_MOST_DIGITS = 20
_NUMPY_TYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP32": "<f4",
    "FP64": "<f8",
}


def split_body(request: HttpRequest) -> tuple[bytes, bytes]:
    """The JSON of a request, and the values behind it (empty without the extension).

    Raises:
        RequestError: the header that says where the JSON ends is wrong (400).
    """
    declared = request.headers.get(LENGTH_HEADER)
    if declared is None:
        return request.body, b""
    # Python refuses to read numbers of thousands of digits.
    if not declared.isdigit() or len(declared) > _MOST_DIGITS or int(declared) > len(request.body):
        raise RequestError(
            400,
            f"Inference-Header-Content-Length: received {declared.decode('latin-1')[:40]!r}, expected how many of the "
            f"body's {len(request.body)} bytes are JSON. Set it to the length of the JSON.",
        )
    end = int(declared)
    return request.body[:end], request.body[end:]


def values_of(tensor: dict[str, Any], behind: bytes) -> bytes | None:
    """The bytes of a request's only tensor; None if its values are in the JSON.

    Args:
        tensor: its entry in `inputs`.
        behind: what came after the JSON.

    Raises:
        RequestError: size and bytes do not agree (400).
    """
    size = parameters_of(tensor, "inputs[0].parameters").get("binary_data_size")
    if size is None and not behind:
        return None
    if type(size) is not int or size != len(behind):
        raise RequestError(
            400,
            f"inputs[0].parameters.binary_data_size: received {str(size)[:40]}, expected {len(behind)}, the number of "
            "bytes behind the JSON. Set it, and Inference-Header-Content-Length to the length of the JSON.",
        )
    if tensor.get("data") is not None:
        raise RequestError(400, "inputs[0].data: received values both in the JSON and behind it. Leave data out.")
    return behind


def decode(raw: bytes, datatype: Any) -> NDArray[Any] | list[bytes]:
    """A tensor's values: elements of a BYTES tensor, else flat numbers (none of a datatype that models do not take).

    Raises:
        RequestError: the bytes are no whole number of values (400).
    """
    if datatype == "BYTES":
        return decode_strings(raw)
    if not isinstance(datatype, str) or datatype not in _NUMPY_TYPES:
        return np.zeros(0)
    return decode_numbers(raw, datatype)


def decode_numbers(raw: bytes, datatype: str) -> NDArray[Any]:
    """Values of a tensor of numbers, flat.

    Raises:
        RequestError: the bytes are no whole number of values (400).
    """
    dtype = np.dtype(_NUMPY_TYPES[datatype])
    if len(raw) % dtype.itemsize:
        expected = f"a multiple of {dtype.itemsize}, the size of a {datatype} value"
        raise RequestError(400, f"inputs[0]: received {len(raw)} bytes, expected {expected}. Send whole values.")
    return np.frombuffer(raw, dtype)


def decode_strings(raw: bytes) -> list[bytes]:
    """Elements of a BYTES tensor: each has its length, 4 bytes little-endian, in front.

    Raises:
        RequestError: the bytes end within an element (400).
    """
    elements: list[bytes] = []
    position = 0
    while position < len(raw):
        start = position + _LENGTH.size
        if start > len(raw) or (position := start + _LENGTH.unpack_from(raw, start - _LENGTH.size)[0]) > len(raw):
            raise RequestError(
                400,
                f"inputs[0]: element {len(elements)} of the BYTES tensor goes beyond the end of the body. "
                "Put each element's length in front of it, in 4 bytes, little-endian.",
            )
        elements.append(raw[start:position])
    return elements


def encode(values: Sequence[Any], datatype: str) -> bytes:
    """A tensor's values as the extension sends them.

    Args:
        values: flat; strings for BYTES.
        datatype: of the protocol.
    """
    if datatype != "BYTES":
        return np.asarray(values, _NUMPY_TYPES[datatype]).tobytes()
    encoded = [value.encode() for value in values]
    return b"".join(part for each in encoded for part in (_LENGTH.pack(len(each)), each))
