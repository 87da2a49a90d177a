"""Explanations wait for a thread of their own, so that they never take more than one from predictions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
# Each may take a tenth of a second; a client that waits longer than a few of them had better come again.
_MOST_WAITING = 16


class QueueFullError(Exception):
    """Too many explanations wait."""


class ExplanationQueue:
    """The thread; it starts with the first explanation."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="graftwork-explain")
        self._waiting = 0

    async def run(self, work: Callable[[], _T]) -> _T:
        """Do some work there; called by one event loop only.

        Raises:
            QueueFullError: too much waits already.
        """
        if self._waiting >= _MOST_WAITING:
            raise QueueFullError
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        finally:
            self._waiting -= 1
