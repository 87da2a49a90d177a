"""How long a run may show nothing: until its workers have started, and then between two signs of progress."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from graftwork.spec.fine_tune_job import Scaling


@dataclass(kw_only=True)
class Deadlines:
    """Watches one attempt; times are those of a clock that never goes back.

    Attributes:
        scheduling_s: seconds until the first event.
        stall_s: seconds from one event to the next.
    """

    scheduling_s: float
    stall_s: float
    _last: float = field(default_factory=lambda: time.monotonic())  # noqa: PLW0108 - looked up anew, for tests
    _has_started: bool = False

    @classmethod
    def of(cls, scaling: Scaling) -> Deadlines:
        """What a spec says."""
        return cls(scheduling_s=scaling.scheduling_timeout_seconds, stall_s=scaling.stall_timeout_seconds)

    def event_seen(self) -> None:
        """The workers showed that they live."""
        self._last = time.monotonic()
        self._has_started = True

    @property
    def never_started(self) -> bool:
        """Whether the workers did not start in time."""
        return not self._has_started and time.monotonic() - self._last > self.scheduling_s

    @property
    def stalled(self) -> bool:
        """Whether the workers started and then showed nothing for too long."""
        return self._has_started and time.monotonic() - self._last > self.stall_s
