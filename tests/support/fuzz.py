"""Requests that nobody should send: made from an endpoint's OpenAPI document, and from the bytes of a right request."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st

_METHODS = ("get", "post", "put", "delete", "patch", "options", "head", "trace")
_TEXTS = st.text(max_size=30) | st.sampled_from(["", "small", "nowhere", "../..", "%00", "\u202e", "9" * 40, "null"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=12,
)
_HEADER_TEXTS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF), max_size=40)
_HEADERS = st.sampled_from(
    [
        "accept",
        "accept-encoding",
        "authorization",
        "content-encoding",
        "cookie",
        "expect",
        "inference-header-content-length",
        "range",
        "serve_multiplexed_model_id",
        "traceparent",
        "x-api-key",
        "x-forwarded-for",
        "x-request-disconnect-disabled",
        "x-request-id",
        "x-request-timeout",
        "x-request-timeout-seconds",
        "x-session-id",
    ]
)
_TYPES = st.sampled_from(
    [
        "application/json",
        "application/octet-stream",
        "image/jpeg",
        "text/plain",
        "text/plain; charset=utf-16",
        "multipart/form-data",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
        "*/*",
        "\xff",
    ]
)


@dataclass(frozen=True, kw_only=True)
class Fuzzed:
    """One request."""

    method: str
    target: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def raw(self) -> bytes:
        """As it goes over the wire, on a connection of its own."""
        lines = [f"{self.method.upper()} {self.target} HTTP/1.1", "host: endpoint", "connection: close"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.body or self.method in {"post", "put", "patch"}:
            lines.append(f"content-length: {len(self.body)}")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + self.body


def requests_for(document: Mapping[str, Any], *, known: Mapping[str, str], picture: bytes) -> st.SearchStrategy[Fuzzed]:
    """Requests for every route of an OpenAPI document.

    Args:
        document: the document.
        known: values of path parameters that exist, so that not all end in 404.
        picture: a right picture, to be changed.
    """
    return st.sampled_from(sorted(document["paths"])).flatmap(lambda path: _request(document, path, known, picture))


@st.composite
def _request(
    draw: st.DrawFn, document: Mapping[str, Any], path: str, known: Mapping[str, str], picture: bytes
) -> Fuzzed:
    operations = document["paths"][path]
    described = [method for method in _METHODS if method in operations]
    method = draw(st.sampled_from(described * 5 + list(_METHODS)))
    target = path
    for name in {each["name"] for each in operations.get("parameters", ())} | set(known):
        if f"{{{name}}}" in target:
            target = target.replace(f"{{{name}}}", quote(draw(st.just(known.get(name, "x")) | _TEXTS), safe=""))
    operation = operations.get(method, {})
    query = [
        f"{each['name']}={quote(draw(_TEXTS | st.integers().map(str)), safe='')}"
        for each in operation.get("parameters", ())
        if each["in"] == "query" and draw(st.booleans())
    ]
    headers = draw(st.dictionaries(_HEADERS, _HEADER_TEXTS, max_size=3))
    body = b""
    if method not in {"get", "head"} or draw(st.integers(0, 9)) == 0:
        content = operation.get("requestBody", {}).get("content", {})
        kind = draw(st.sampled_from([*content] * 3 or ["application/json"]) | _TYPES)
        headers["content-type"] = kind
        body = draw(_body(content.get(kind, {}).get("schema", {}), document, picture))
    return Fuzzed(method=method, target=target + ("?" + "&".join(query) if query else ""), headers=headers, body=body)


def _body(schema: Mapping[str, Any], document: Mapping[str, Any], picture: bytes) -> st.SearchStrategy[bytes]:
    if schema.get("format") == "binary":
        return _changed(picture) | st.binary(max_size=200)
    as_json = from_schema(schema, document).map(_dumped)
    return as_json | as_json.flatmap(_changed) | _JSON.map(_dumped) | st.binary(max_size=200) | _changed(picture)


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def from_schema(schema: Mapping[str, Any], document: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Values that mostly obey a JSON Schema."""
    if "$ref" in schema:
        target: Any = document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return from_schema(target, document)
    options = schema.get("oneOf") or schema.get("anyOf")
    if options:
        return st.one_of(*(from_schema(option, document) for option in options))
    if "enum" in schema:
        return st.sampled_from(schema["enum"]) | _TEXTS
    match schema.get("type"):
        case "object":
            required = set(schema.get("required", ()))
            entries = {name: from_schema(each, document) | _JSON for name, each in schema.get("properties", {}).items()}
            given = {name: each for name, each in entries.items() if name in required}
            return st.fixed_dictionaries(given, optional={n: e for n, e in entries.items() if n not in required})
        case "array":
            return st.lists(from_schema(schema.get("items", {}), document), max_size=4)
        case "string":
            return _TEXTS | st.sampled_from(["image", "text", "UINT8", "FP32", "BYTES", "AAAA", "iVBORw0KGgo="])
        case "integer":
            return st.integers(-5, 5000) | st.integers()
        case "number":
            return st.floats()
        case "boolean":
            return st.booleans()
        case _:
            return _JSON


def _changed(data: bytes) -> st.SearchStrategy[bytes]:
    """The same with some bytes exchanged, dropped or put in, or cut short."""
    place = st.integers(0, max(0, len(data) - 1))
    change = st.tuples(place, st.sampled_from(["exchange", "drop", "insert", "cut", "repeat"]), st.binary(max_size=8))
    return st.lists(change, max_size=5).map(lambda changes: _apply(data, changes))


def _apply(data: bytes, changes: list[tuple[int, str, bytes]]) -> bytes:
    for place, kind, piece in changes:
        match kind:
            case "exchange":
                data = data[:place] + piece + data[place + len(piece) :]
            case "drop":
                data = data[:place] + data[place + 1 + len(piece) :]
            case "insert":
                data = data[:place] + piece + data[place:]
            case "cut":
                data = data[:place]
            case _:
                data = data[:place] + data[place : place + 20] * 3 + data[place + 20 :]
    return data


def changed_bytes(request: Fuzzed) -> st.SearchStrategy[bytes]:
    """What a right request is on the wire, with changes: in its first line, its headers, its body."""
    return _changed(request.raw())


def send_raw(port: int, sent: bytes, *, patience_s: float = 30.0) -> bytes:
    """Send bytes on a connection of their own; gives what comes back until the other side closes.

    Args:
        port: on loopback.
        sent: what to send.
        patience_s: after so long without a word we say that nothing more will come: the other side may wait for the
            rest of what it takes for a longer request.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=patience_s) as connection:
        received = b""
        try:
            connection.sendall(sent)
            while piece := _receive(connection):
                received += piece
        except (ConnectionResetError, BrokenPipeError):
            pass  # the other side had enough
        return received


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except TimeoutError:
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(30.0)
        return connection.recv(65536)


def statuses(received: bytes) -> Iterator[int]:
    """Status codes of all answers in what came back; there are none if the connection was closed without a word."""
    while received.startswith(b"HTTP/1."):
        head, _, rest = received.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        yield int(lines[0].split()[1])
        headers = dict(line.lower().split(b": ", 1) for line in lines[1:] if b": " in line)
        received = rest[int(headers.get(b"content-length", b"0")) :]
