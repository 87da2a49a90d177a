"""Stands before every request of every protocol: from headers to a caller, or to a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.api_keys import KEY_PREFIX
from graftwork_serving.access.callers import Caller, RefusedError
from graftwork_serving.access.key_store import KeyStore
from graftwork_serving.access.rate_limit import RateLimiter
from graftwork_serving.endpoint_config import AccessConfig

if TYPE_CHECKING:
    from graftwork_serving.access.tokens import TokenVerifier

_KEY_HEADER = b"x-api-key"
_AUTHORIZATION = b"authorization"
_BEARER = b"bearer "


class Guard:
    """Knows who may ask.

    Args:
        config: who.
        folder: where replicas of this machine share how often callers asked.

    Raises:
        SpecError: the key file is not there, or wrong.
    """

    def __init__(self, config: AccessConfig, folder: Path) -> None:
        self.config = config
        self._keys = KeyStore(Path(config.keys_file)) if config.keys_file is not None else None
        self._tokens: TokenVerifier | None = None
        if config.tokens is not None:
            from graftwork_serving.access.tokens import TokenVerifier

            self._tokens = TokenVerifier(config.tokens)
        self._limiter = RateLimiter(folder)
        self._following: list[asyncio.Task[None]] = []

    def follow_changes(self) -> None:
        """Begin to follow key file and signers, in the running event loop."""
        loops: list[Coroutine[Any, Any, None]] = []
        if self._keys is not None:
            loops.append(self._keys.follow())
        if self._tokens is not None:
            loops.append(self._tokens.signers.follow())
        self._following = [asyncio.create_task(loop) for loop in loops]

    async def stop(self) -> None:
        """Follow no longer."""
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)

    async def admit(self, headers: Mapping[bytes, bytes]) -> Caller:
        """Who sends a request.

        Args:
            headers: by lower-case name.

        Raises:
            RefusedError: nobody who may (401), or that cannot be told now (503).
        """
        given = _credential(headers)
        if self._tokens is not None and (self._keys is None or not given.startswith(KEY_PREFIX)):
            return await self._tokens.find(given)
        if self._keys is None:
            raise RuntimeError("a guard without keys and tokens")
        return self._keys.find(given)

    def count_prediction(self, caller: Caller) -> None:
        """Count one request for predictions.

        Raises:
            RefusedError: it is one too many (429).
        """
        self._limiter.check(caller)


def _credential(headers: Mapping[bytes, bytes]) -> str:
    """What a client shows; `x-api-key` first, for an ingress may have put its own into Authorization."""
    key = headers.get(_KEY_HEADER)
    if key is None:
        given = headers.get(_AUTHORIZATION, b"")
        key = given[len(_BEARER) :] if given[: len(_BEARER)].lower() == _BEARER else b""
    text = key.decode("latin-1").strip()
    if not text:
        raise RefusedError(401, "This endpoint asks for a key. Send it as Authorization: Bearer KEY.", reason="no-key")
    return text
