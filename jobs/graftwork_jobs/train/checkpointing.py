"""When a checkpoint is written, decided alike on all workers: after epochs, and within long ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork_jobs.train.checkpoint import Checkpoint, write_checkpoint
from graftwork_jobs.train.host import Host

_ASK_EVERY_S = 2.0
_FIRST_ASKED_AFTER = 16
# After an epoch, a checkpoint is worth its while when it costs no more than a tenth of the time since the last one.
_WORTH = 10
_APART_S = 2.0


class Checkpointing:
    """Reports to the host and commits checkpoints. Every worker calls it alike: each report is a barrier."""

    def __init__(self, host: Host, *, every_s: float, writes: bool) -> None:
        """Start the clock.

        Args:
            host: takes reports.
            every_s: seconds of training that a crash may cost.
            writes: whether there are checkpoints at all.
        """
        self._host = host
        self._every_s = every_s
        self._writes = writes
        self._last = self._began = time.monotonic()
        self._ask_at = _FIRST_ASKED_AFTER
        self._cost_s = 0.0
        self._knows_of_preemption = False

    def begin_epoch(self) -> None:
        """An epoch's updates begin: how long they take is measured anew."""
        self._began = time.monotonic()
        self._ask_at = _FIRST_ASKED_AFTER

    def is_due(self, updates: int) -> bool:
        """Whether a checkpoint is due between two updates; the same on all workers.

        They agree by an exchange, so that happens every few seconds only.

        Args:
            updates: done since `begin_epoch`.
        """
        if not self._writes or updates < self._ask_at:
            return False
        now = time.monotonic()
        ahead = np.ceil(updates / (now - self._began) * _ASK_EVERY_S)
        due, ahead = self._as_rank_0(float(now - self._last >= self._every_s), ahead)
        self._ask_at = updates + max(1, int(ahead))
        return bool(due) or self._learns_of_preemption()

    def after_epoch(self, record: Mapping[str, Any], make: Callable[[], Checkpoint]) -> None:
        """Report an epoch, with a checkpoint. Short epochs are left out: repeating some takes less time than that.

        Args:
            record: its figures.
            make: as for `report`.
        """
        apart_s = min(self._every_s, max(_APART_S, _WORTH * self._cost_s))
        if not self._writes or self._as_rank_0(float(time.monotonic() - self._last >= apart_s))[0]:
            self.report(record, make)

    def report(self, record: Mapping[str, Any], make: Callable[[], Checkpoint]) -> None:
        """Report figures and commit a checkpoint.

        Args:
            record: what happened, or how far the job is.
            make: collects what is to be kept; called on the worker that writes.
        """
        is_writer, began = self._writes and self._host.collectives.rank == 0, time.monotonic()
        self._host.report(record, partial(write_checkpoint, make()) if is_writer else None)
        self._last = time.monotonic()
        self._cost_s = self._last - began

    def _as_rank_0(self, *own: float) -> NDArray[np.float64]:
        """Rank 0's values, on all workers: their clocks differ, and they must decide alike."""
        return self._host.collectives.sum_array(np.array(own) * float(self._host.collectives.rank == 0))

    def _learns_of_preemption(self) -> bool:
        """Whether a worker's machine has just announced its end."""
        if self._knows_of_preemption or not self._host.is_preempted():
            return False
        self._knows_of_preemption = True
        return True
