"""The public keys of whoever signs tokens: fetched, kept, and fetched again when they change."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.errors import Problem, SpecError

if TYPE_CHECKING:
    from jwt import PyJWK

_LOGGER = logging.getLogger(__name__)
_DISCOVERY = "/.well-known/openid-configuration"
_FETCH_TIMEOUT_S = 10.0
# The time above is for each piece of an answer: one that comes byte by byte has to end, too.
_LONGEST_FETCH_S = 20.0
_REFRESH_EVERY_S = 300.0
# Anyone can send tokens that name keys nobody has: they must not make us fetch without end.
_REFETCH_AFTER_S = 10.0
_MOST_BYTES = 1024 * 1024


class SignerKeys:
    """The keys, by the names that tokens give them.

    Args:
        issuer: who signs.
        keys: URL or path of the JWK set; None to ask the issuer.
        clock: seconds, monotonic.
    """

    def __init__(self, issuer: str, keys: str | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._place = keys
        self._clock = clock
        self._keys: dict[str | None, PyJWK] = {}
        self._fetched_at: float | None = None
        self._has_failed = False
        self._fetching = asyncio.Lock()
        self.revision = 0
        """Changes whenever the keys do."""

    @property
    def are_all(self) -> bool:
        """Whether these are the issuer's keys as far as can be told: the last try to fetch them did not fail."""
        return bool(self._keys) and not self._has_failed

    async def find(self, name: str | None) -> PyJWK | None:
        """The key of a name, fetched anew if it is not known; None if there is none.

        Args:
            name: the token's `kid`; None if it has none, which is enough where there is one key.
        """
        if (key := self._known(name)) is not None:
            return key
        async with self._fetching:
            if self._known(name) is None and self._may_fetch():
                await self._refresh()
        return self._known(name)

    async def follow(self) -> None:
        """Fetch the keys from time to time, until cancelled."""
        while True:
            async with self._fetching:
                await self._refresh()
            await asyncio.sleep(_REFRESH_EVERY_S if self._keys else _REFETCH_AFTER_S)

    def _known(self, name: str | None) -> PyJWK | None:
        if name is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(name)

    def _may_fetch(self) -> bool:
        return self._fetched_at is None or self._clock() - self._fetched_at >= _REFETCH_AFTER_S

    async def _refresh(self) -> None:
        """Fetch; if that fails, the keys stay as they were."""
        try:
            found = await asyncio.to_thread(fetch_keys, self._issuer, self._place)
        except SpecError as error:
            self._has_failed = True
            _LOGGER.error("The keys of %s stay as they were. %s", self._issuer, error)
            return
        finally:
            # Counted from the end: a slow issuer must not be asked again by each of those who waited for its answer.
            self._fetched_at = self._clock()
        self._has_failed = False
        if {name: _content(key) for name, key in found.items()} != {
            name: _content(key) for name, key in self._keys.items()
        }:
            self._keys = found
            self.revision += 1


def fetch_keys(issuer: str, place: str | None) -> dict[str | None, PyJWK]:
    """All keys of an issuer that can sign, by name.

    Args:
        issuer: who signs.
        place: URL or path of the JWK set; None to ask the issuer.

    Raises:
        SpecError: they cannot be had.
    """
    import jwt

    if place is None:
        about = _fetch_json(issuer.rstrip("/") + _DISCOVERY)
        place = about.get("jwks_uri")
        if about.get("issuer") != issuer or not isinstance(place, str):
            raise _wrong(issuer + _DISCOVERY, f"issuer {about.get('issuer')!r}, jwks_uri {place!r}")
    content = _fetch_json(place) if "://" in place else _read_json(Path(place))
    try:
        keys = jwt.PyJWKSet.from_dict(content).keys
    except (jwt.PyJWTError, TypeError, AttributeError, KeyError, ValueError) as error:
        raise _wrong(place, str(error) or type(error).__name__) from error
    return {key.key_id: key for key in keys if key.public_key_use in {None, "sig"}}


def signature_key(key: PyJWK) -> Any:
    """What PyJWT checks signatures with: the key, which counts for one algorithm only, or what is within it.

    An RSA key is good for several algorithms and need not name one, where PyJWT takes RS256 for meant.
    Source: RFC 7517, section 4.4; RFC 7518, section 3.1.
    """
    content = key._jwk_data  # noqa: SLF001 (PyJWT gives it out in no other way)
    return key.key if key.key_type == "RSA" and not content.get("alg") else key


def _content(key: PyJWK) -> str:
    return json.dumps(key._jwk_data, sort_keys=True)  # noqa: SLF001 (PyJWT gives it out in no other way)


def _fetch_json(url: str) -> dict[str, Any]:
    import httpx

    until = time.monotonic() + _LONGEST_FETCH_S
    try:
        with httpx.stream("GET", url, timeout=_FETCH_TIMEOUT_S, follow_redirects=False) as response:
            response.raise_for_status()
            body = b""
            for chunk in response.iter_bytes():
                body += chunk
                if time.monotonic() > until:
                    raise _wrong(url, f"no whole answer within {_LONGEST_FETCH_S:g} seconds")
                if len(body) > _MOST_BYTES:
                    raise _wrong(url, f"more than {_MOST_BYTES:,} bytes")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _wrong(url, str(error) or type(error).__name__) from error
    return _parsed(url, body)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return _parsed(str(file), file.read_bytes())
    except OSError as error:
        raise _wrong(str(file), (error.strerror or str(error)).lower()) from error


def _parsed(where: str, body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except ValueError as error:
        raise _wrong(where, "no JSON") from error
    if not isinstance(content, dict):
        raise _wrong(where, "JSON that is no object")
    return content


def _wrong(where: str, received: str) -> SpecError:
    return SpecError(
        Problem(
            where=where,
            received=received,
            expected="the public keys that sign tokens (a JWK set)",
            fix="Check `auth.jwt.issuer` and `auth.jwt.keys`.",
        )
    )
