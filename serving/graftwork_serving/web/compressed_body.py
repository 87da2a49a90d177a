"""Request bodies that come compressed (`Content-Encoding`), unpacked piece by piece and no further than the limit.

Source: RFC 9110, section 8.4.1: `gzip` is RFC 1952, `deflate` the zlib format of RFC 1950.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator
from typing import Final

from graftwork.errors import RequestError
from graftwork_serving.web.body_budget import BodyShare

IDENTITY: Final = "identity"
"""What says that a body is as it is."""
# What zlib is told of the format around the data.
_FORMATS: Final = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_PIECE_BYTES: Final = 1 << 20


def check_encoding(encoding: str) -> None:
    """Refuse what cannot be unpacked.

    Args:
        encoding: the header's value, in lower case.

    Raises:
        RequestError: it is another one (415).
    """
    if encoding != IDENTITY and encoding not in _FORMATS:
        raise RequestError(
            415,
            f"Content-Encoding: received {encoding[:60]!r}, expected gzip or deflate. Use one of them, or send the "
            "body uncompressed.",
        )


async def unpack(body: bytes, encoding: str, *, max_bytes: int, share: BodyShare) -> bytes:
    """A body as it was before it was compressed; computed in threads.

    Args:
        body: as it came.
        encoding: the header's value, checked.
        max_bytes: most bytes of the result.
        share: its part of what the replica may hold; `body` counts already.

    Raises:
        RequestError: it is damaged (400), or larger than allowed (413).
        OverloadedError: the replica holds too many bodies.
    """
    if encoding == IDENTITY:
        return body
    found: list[bytes] = []
    size, pieces = 0, _pieces(body, _FORMATS[encoding])
    try:
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            size += len(piece)
            if size > max_bytes:
                raise RequestError(
                    413,
                    f"The request body unpacks to {size:,} bytes or more, at most {max_bytes:,} are allowed. "
                    "Send fewer or smaller inputs, or raise spec.limits.maxRequestBytes.",
                )
            share.grow_to(len(body) + size)
            found.append(piece)
    except (zlib.error, EOFError) as error:
        raise RequestError(
            400,
            f"The request body is no whole {encoding} data, which its Content-Encoding promises: {error}. "
            "Compress it again, or send it uncompressed.",
        ) from error
    return b"".join(found)


def _pieces(body: bytes, wbits: int) -> Iterator[bytes]:
    """The content in pieces.

    Raises:
        zlib.error: it is damaged, or something stands behind it.
        EOFError: its end is missing.
    """
    stream = zlib.decompressobj(wbits)
    while not stream.eof:
        piece = stream.decompress(body, _PIECE_BYTES)
        body = stream.unconsumed_tail
        if not piece and not body and not stream.eof:
            raise EOFError("its end is missing")
        yield piece
    if stream.unused_data:  # a body of many small streams would take for ever
        raise zlib.error("something stands behind its end")
