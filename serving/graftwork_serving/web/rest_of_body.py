"""What a client still sends of a request that was answered before all of it was read.

An ingress between client and endpoint keeps the client's connection and does not know that the rest will not be taken:
it may drop the connection while the client already sends its next request. So a rest of modest size is read and thrown
away before the answer goes out; of a large one, or one that does not come, nothing is waited for.
"""

from __future__ import annotations

import asyncio

from graftwork_serving.web.messages import Message, Receive, Scope

_MOST_BYTES = 1024 * 1024
_LONGEST_S = 2.0


class WatchedBody:
    """Hands on what comes of a request's body, and remembers whether that was all."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        declared = dict(scope["headers"]).get(b"content-length", b"")
        self._declared = int(declared) if declared.isdigit() else 0
        self._has_ended = scope["method"] in {"GET", "HEAD"} and not self._declared

    async def receive(self) -> Message:
        """The next message, as ASGI gives it."""
        message = await self._receive()
        self._has_ended = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def discard_rest(self) -> None:
        """Read on to the end, if that is near."""
        if self._has_ended:
            return
        left = 0 if self._declared > _MOST_BYTES else _MOST_BYTES
        try:
            async with asyncio.timeout(_LONGEST_S):
                while left > 0 and not self._has_ended:
                    left -= len((await self.receive()).get("body", b""))
        except TimeoutError:
            return  # the answer says that the connection ends
