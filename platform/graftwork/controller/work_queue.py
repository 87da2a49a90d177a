"""Objects that wait to be looked at: each at most once at a time, failures with growing delay. No cluster here.

Whatever may have changed about an object puts its key in; several changes before its turn are one look.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from graftwork.errors import GraftworkError, TransientError

_FIRST_DELAY_S: Final = 1.0
_LONGEST_DELAY_S: Final = 120.0
_logger = logging.getLogger(__name__)
KeyType = TypeVar("KeyType", bound=Hashable)


def delay_after(failures: int, *, least_s: float = _FIRST_DELAY_S) -> float:
    """How long to wait after so many failures in a row, in seconds: doubled each time, up to two minutes."""
    return float(min(_LONGEST_DELAY_S, max(least_s, _FIRST_DELAY_S) * 2 ** min(failures - 1, 10)))


@dataclass(kw_only=True)
class WorkQueue(Generic[KeyType]):
    """Keys, and a function that looks at one.

    Attributes:
        look: blocking; gives after how many seconds to look again, or None.
        on_look: told of every look: key, seconds waited and worked, and the error if there was one.
    """

    look: Callable[[KeyType], float | None]
    on_look: Callable[[KeyType, float, float, Exception | None], None] = lambda *_: None
    _waiting: dict[KeyType, float] = field(default_factory=dict, init=False)
    _busy: set[KeyType] = field(default_factory=set, init=False)
    _timers: dict[KeyType, asyncio.TimerHandle] = field(default_factory=dict, init=False)
    _failures: dict[KeyType, int] = field(default_factory=dict, init=False)
    _news: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def add(self, key: KeyType) -> None:
        """Have an object looked at soon."""
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        self._waiting.setdefault(key, asyncio.get_running_loop().time())
        self._news.set()

    def add_later(self, key: KeyType, after_s: float) -> None:
        """Have an object looked at after a time, unless something puts it in before."""
        loop = asyncio.get_running_loop()
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        self._timers[key] = loop.call_later(after_s, self.add, key)

    def __len__(self) -> int:
        return len(self._waiting)

    async def work(self, *, at_once: int) -> None:
        """Look at objects, so many at the same time, until cancelled."""
        # Threads of its own: looks that hang must not keep others from renewing a Lease.
        with ThreadPoolExecutor(at_once, thread_name_prefix="look") as threads:
            async with asyncio.TaskGroup() as group:
                for _ in range(at_once):
                    group.create_task(self._worker(threads))

    async def _worker(self, threads: ThreadPoolExecutor) -> None:
        while True:
            key = next((each for each in self._waiting if each not in self._busy), None)
            if key is None:
                self._news.clear()
                await self._news.wait()
                continue
            await self._one(key, threads)

    async def _one(self, key: KeyType, threads: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        waited = began - self._waiting.pop(key)
        self._busy.add(key)
        failure: Exception | None = None
        again: float | None = None
        try:
            again = await loop.run_in_executor(threads, self.look, key)
            self._failures.pop(key, None)
        except Exception as error:  # the loop outlives whatever one object does to it
            failure = error
        finally:
            self._busy.discard(key)
            self._news.set()
        self.on_look(key, waited, loop.time() - began, failure)
        if failure is not None:
            again = self._failed(key, failure)
        if again is not None and key not in self._waiting:
            self.add_later(key, again)

    def _failed(self, key: KeyType, error: Exception) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay_s = delay_after(failures, least_s=error.delay_s if isinstance(error, TransientError) else 1.0)
        if isinstance(error, GraftworkError):
            _logger.warning("%s: %s Trying again in %.0f s.", key, error, delay_s)
        else:
            _logger.error("%s: trying again in %.0f s.", key, delay_s, exc_info=error)
        return delay_s
