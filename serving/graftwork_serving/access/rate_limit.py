"""How often a caller may ask: a token bucket that all replicas of a machine share.

A bucket is one number, the moment at which it will be full again, in a file of its own (the "generic cell rate
algorithm", which lets through what a token bucket does). Replicas read and write it under the file's lock.
"""

from __future__ import annotations

import fcntl
import math
import os
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from graftwork_serving.access.callers import Caller, Rate, RefusedError

_NUMBER = struct.Struct("<d")


@dataclass(frozen=True, kw_only=True)
class Admission:
    """What the bucket says.

    Attributes:
        full_at: when it will be full again, in seconds of the machine's monotonic clock.
        wait_s: after how long to come back; None when the request may pass.
    """

    full_at: float
    wait_s: float | None = None


def take(full_at: float, now: float, rate: Rate) -> Admission:
    """Take one token.

    Args:
        full_at: when the bucket will be full.
        now: the time.
        rate: how fast it fills, and how much it holds.
    """
    token_s = 1 / rate.per_second
    # A moment further away than an empty bucket needs is from another rate, or from before a restart of the machine.
    full_at = min(max(full_at, now), now + rate.burst * token_s)
    wait_s = full_at + token_s - (now + rate.burst * token_s)
    if wait_s > 1e-9:  # noqa: PLR2004 (rounding)
        return Admission(full_at=full_at, wait_s=wait_s)
    return Admission(full_at=full_at + token_s)


class RateLimiter:
    """The buckets of all callers.

    Args:
        folder: where replicas of this machine share them.
        clock: seconds; the same for all processes of the machine.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        folder.mkdir(parents=True, exist_ok=True)

    def check(self, caller: Caller) -> None:
        """Count a request.

        Raises:
            RefusedError: it is one too many (429).
        """
        rate = caller.rate
        if rate is None:
            return
        descriptor = os.open(self._folder / caller.identity, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            stored = os.pread(descriptor, _NUMBER.size, 0)
            full_at = _NUMBER.unpack(stored)[0] if len(stored) == _NUMBER.size else 0.0
            admission = take(full_at, self._clock(), rate)
            os.pwrite(descriptor, _NUMBER.pack(admission.full_at), 0)
        finally:
            os.close(descriptor)
        if admission.wait_s is not None:
            seconds = max(1, math.ceil(admission.wait_s))
            raise RefusedError(
                429,
                f"You may ask {rate.per_second:g} times a second ({rate.burst} at once). Try again in {seconds} s.",
                reason="rate-limit",
                retry_after_s=seconds,
            )
