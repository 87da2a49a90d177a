"""How many bytes of request bodies one replica holds at a time: many large ones at once must not use up its memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from graftwork_serving.service import OverloadedError

_MOST_BYTES = 256 * 1024**2
_LEAST_BODIES = 4


class BodyBudget:
    """Counts what is held.

    Attributes:
        most_bytes: how much may be; may be changed at any time.
    """

    def __init__(self) -> None:
        self.most_bytes = _MOST_BYTES
        self._held_bytes = 0

    def make_room_for(self, max_request_bytes: int) -> None:
        """Let some bodies of the largest size fit in any case."""
        self.most_bytes = max(_MOST_BYTES, _LEAST_BODIES * max_request_bytes)

    @contextmanager
    def share(self) -> Iterator[BodyShare]:
        """One request's part, given back at the end of the block."""
        share = BodyShare(self)
        try:
            yield share
        finally:
            self._held_bytes -= share.held_bytes

    def take(self, size_bytes: int) -> None:
        """Hold more.

        Raises:
            OverloadedError: that would be too much.
        """
        if self._held_bytes + size_bytes > self.most_bytes:
            raise OverloadedError(retry_after_s=1)
        self._held_bytes += size_bytes


class BodyShare:
    """What one request holds.

    Attributes:
        held_bytes: so far.
    """

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.held_bytes = 0

    def grow_to(self, size_bytes: int) -> None:
        """Hold so much in all.

        Raises:
            OverloadedError: the replica holds too much already.
        """
        if size_bytes > self.held_bytes:
            self._budget.take(size_bytes - self.held_bytes)
            self.held_bytes = size_bytes
