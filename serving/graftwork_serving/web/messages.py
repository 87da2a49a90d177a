"""HTTP requests and responses as plain data, and reading a body no further than the limit."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from graftwork.errors import RequestError
from graftwork_serving.web.body_budget import BodyShare
from graftwork_serving.web.compressed_body import IDENTITY, check_encoding, unpack

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON_TYPE = b"application/json"


@dataclass(frozen=True, kw_only=True)
class HttpRequest:
    """One request with its whole body.

    Attributes:
        query: parameters after `?`.
        headers: by lower-case name.
        body: all of it, uncompressed.
    """

    query: dict[str, list[str]]
    headers: dict[bytes, bytes]
    body: bytes

    def last(self, name: str) -> str | None:
        """A parameter's value, the last one if it is given several times."""
        return self.query[name][-1] if name in self.query else None

    @property
    def content_type(self) -> str:
        """Media type without parameters, in lower case; empty if the client sent none."""
        return self.headers.get(b"content-type", b"").split(b";")[0].strip().lower().decode("latin-1")


@dataclass(frozen=True, kw_only=True)
class HttpResponse:
    """One response.

    Attributes:
        status: HTTP status code.
        body: all of it.
        content_type: media type.
        headers: further headers.
        after_sending: called once it is with the server.
    """

    status: int = 200
    body: bytes = b""
    content_type: bytes = JSON_TYPE
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())
    after_sending: Callable[[], None] | None = None

    async def send(self, send: Send) -> None:
        """Hand it to the server."""
        headers = [
            (b"content-type", self.content_type),
            (b"content-length", str(len(self.body)).encode()),
            *self.headers,
        ]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})
        if self.after_sending is not None:
            self.after_sending()


def json_response(content: Any, *, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()) -> HttpResponse:
    """A JSON document."""
    return HttpResponse(status=status, body=json.dumps(content, separators=(",", ":")).encode(), headers=headers)


def error_response(status: int, message: str, *, headers: tuple[tuple[bytes, bytes], ...] = ()) -> HttpResponse:
    """What every refused request gets."""
    return json_response({"error": message}, status=status, headers=headers)


async def read_request(scope: Scope, receive: Receive, *, max_bytes: int, share: BodyShare) -> HttpRequest:
    """Read a request, giving up as soon as its body is known to be too large.

    Args:
        scope: the request.
        receive: gives its body.
        max_bytes: largest body.
        share: its part of what the replica may hold.

    Raises:
        RequestError: the body is too large (413), compressed in a way that is not taken (415), damaged, or the client
            went away (400).
        OverloadedError: the replica holds too many bodies.
    """
    headers: dict[bytes, bytes] = dict(scope["headers"])
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(int(declared), max_bytes)
    share.grow_to(int(declared) if declared.isdigit() else 0)
    encoding = headers.get(b"content-encoding", b"").decode("latin-1").strip().lower() or IDENTITY
    check_encoding(encoding)
    received = await _read_body(receive, max_bytes, share)
    body = await unpack(received, encoding, max_bytes=max_bytes, share=share)
    return HttpRequest(query=parse_query(scope), headers=headers, body=body)


def parse_query(scope: Scope) -> dict[str, list[str]]:
    """Parameters after `?`."""
    raw: bytes = scope.get("query_string", b"")
    return parse_qs(raw.decode("latin-1"), keep_blank_values=True) if raw else {}


async def _read_body(receive: Receive, max_bytes: int, share: BodyShare) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestError(400, "The connection was closed before the whole body had arrived. Send it again.")
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(size, max_bytes)
        share.grow_to(size)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(size: int, limit: int) -> RequestError:
    return RequestError(
        413,
        f"The request body has {size:,} bytes or more, at most {limit:,} are allowed. "
        "Send fewer or smaller inputs, or raise spec.limits.maxRequestBytes.",
    )
