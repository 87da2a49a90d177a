"""How many training steps run in one call of the compiled program, found by measurement; the same on all workers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from graftwork_jobs.distributed.collectives import Collectives

# Python costs a call about 2 ms on CPU. A call in which steps take so long makes that a hundredth, and is short enough
# for progress to be told and for a stop to be noticed.
_CALL_S = 0.2
# The first one also pays for compiling.
_MEASURED_CALL = 2


class Pace:
    """Of one stage of a phase. All workers must use it alike: they agree by an exchange, once."""

    def __init__(self, collectives: Collectives, *, pieces: int, asked: int | None, most: int) -> None:
        """Begin with one weight update a call.

        Args:
            collectives: this worker among all.
            pieces: steps that make a weight update.
            asked: steps a call that the job asks for; None to find out.
            most: weight updates a call, at most, where nothing is asked for.
        """
        self._collectives = collectives
        self._pieces = pieces
        self._most = most
        self._is_asked = asked is not None
        self._steps = asked or pieces
        self._calls = 0

    @property
    def steps(self) -> int:
        """Steps of the next call."""
        return self._steps

    @contextmanager
    def measured(self, steps: int) -> Iterator[None]:
        """Around a call.

        Args:
            steps: that it does; fewer than `steps` at the end of an epoch.
        """
        began = time.perf_counter()
        yield
        self._calls += 1
        if self._is_asked or self._calls != _MEASURED_CALL:
            return
        own = (time.perf_counter() - began) / steps * self._pieces
        # The mean over the workers, whose clocks differ.
        update_s = float(self._collectives.sum_array(np.array([own]))[0]) / self._collectives.world
        self._steps = self._pieces * int(np.clip(_CALL_S / update_s, 1, self._most))
