"""When a checkpoint is written, decided alike on all workers: after each epoch, and within long ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from graftwork_jobs.train.checkpoint import Checkpoint, write_checkpoint
from graftwork_jobs.train.host import Host

_ASK_EVERY_S = 2.0
_FIRST_ASKED_AFTER = 16


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
        self._knows_of_preemption = False

    def begin_epoch(self) -> None:
        """An epoch's updates begin: how long they take is measured anew."""
        self._began = time.monotonic()
        self._ask_at = _FIRST_ASKED_AFTER

    def is_due(self, updates: int) -> bool:
        """Whether a checkpoint is due between two updates; the same on all workers.

        Their clocks differ, so they must agree, which is an exchange; it happens every few seconds only.

        Args:
            updates: done since `begin_epoch`.
        """
        if not self._writes or updates < self._ask_at:
            return False
        now = time.monotonic()
        ahead = np.ceil(updates / (now - self._began) * _ASK_EVERY_S)
        # Rank 0's clock counts, for what is due and for when to ask again.
        own = np.array([float(now - self._last >= self._every_s), ahead]) * float(self._host.collectives.rank == 0)
        due, ahead = self._host.collectives.sum_array(own)
        self._ask_at = updates + max(1, int(ahead))
        return bool(due) or self._learns_of_preemption()

    def report(self, record: Mapping[str, Any], make: Callable[[], Checkpoint]) -> None:
        """Report figures and commit a checkpoint.

        Args:
            record: what happened, or how far the job is.
            make: collects what is to be kept; called on the worker that writes.
        """
        is_writer = self._writes and self._host.collectives.rank == 0
        self._host.report(record, partial(write_checkpoint, make()) if is_writer else None)
        self._last = time.monotonic()

    def _learns_of_preemption(self) -> bool:
        """Whether a worker's machine has just announced its end."""
        if self._knows_of_preemption or not self._host.is_preempted():
            return False
        self._knows_of_preemption = True
        return True
