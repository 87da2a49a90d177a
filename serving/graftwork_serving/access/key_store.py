"""API keys of an endpoint: read from their file, read again whenever it changes, looked up for each request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from graftwork.api_keys import ApiKey, find_key, is_expired, read_key_file, utc_now
from graftwork.errors import SpecError
from graftwork_serving.access.callers import Caller, RefusedError, rate_of

_LOGGER = logging.getLogger(__name__)
_LOOK_EVERY_S = 1.0

_Stamp = tuple[int, int, int, int]


class KeyStore:
    """The keys in a file.

    Args:
        file: which.
        clock: the time, for keys that expire.

    Raises:
        SpecError: the file is not there, or wrong.
    """

    def __init__(self, file: Path, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._file = file
        self._clock = clock
        self._stamp = _stamp_of(file)
        self._keys = _read(file)

    def find(self, given: str) -> Caller:
        """Who holds a key.

        Raises:
            RefusedError: nobody (401).
        """
        entry = find_key(given, self._keys)
        if entry is None:
            raise RefusedError(
                401, "The API key is not known here. Check that it is whole and not revoked.", reason="unknown-key"
            )
        if is_expired(entry, self._clock()):
            raise RefusedError(
                401, "The API key has expired. Ask whoever runs the endpoint for a new one.", reason="expired-key"
            )
        return _caller(entry)

    async def follow(self) -> None:
        """Read the file again whenever it changes, until cancelled; a wrong one leaves the keys as they are."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Read the file if it has changed."""
        stamp = _stamp_of(self._file)
        if stamp == self._stamp:
            return
        try:
            self._keys = _read(self._file)
        except SpecError as error:
            _LOGGER.error("API keys stay as they were. %s", error)
        self._stamp = stamp


def _read(file: Path) -> dict[str, ApiKey]:
    return {key.id: key for key in read_key_file(file).keys}


def _stamp_of(file: Path) -> _Stamp | None:
    """What changes with the file, also where a cluster swaps the folder behind a link."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _caller(entry: ApiKey) -> Caller:
    rate = rate_of(entry.requests_per_second, entry.burst)
    return Caller(identity=entry.id, models=frozenset(entry.models) if entry.models is not None else None, rate=rate)
