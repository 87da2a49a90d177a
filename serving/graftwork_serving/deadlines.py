"""How long a request may take: what the spec allows, and less if its sender wants that. Pure.

Work for a request whose time is over is dropped: the pool's threads skip examples that nobody waits for.
"""

from __future__ import annotations

import math

from graftwork.errors import RequestError

TIMEOUT_HEADER = b"x-request-timeout"
"""Seconds after which the sender has no use for an answer."""

CLIENT_GONE = 499
"""What requests are counted as whose client did not wait for the answer; nobody gets it."""


def allowed_s(asked: bytes | None, *, most_s: float) -> float:
    """Seconds that a request may take.

    Args:
        asked: what its sender says; None for nothing.
        most_s: what the spec allows.

    Raises:
        RequestError: the sender says something else than a time (400).
    """
    if asked is None:
        return most_s
    try:
        seconds = float(asked)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise RequestError(
            400,
            f"Header x-request-timeout: received {asked[:40].decode('latin-1')!r}, expected seconds > 0. "
            "Use a number such as 1.5.",
        )
    return min(seconds, most_s)


def too_late(seconds: float, *, was_read: bool) -> RequestError:
    """What a request gets whose time is over.

    Args:
        seconds: that it had.
        was_read: whether all of it had come; otherwise its sender was too slow.
    """
    if was_read:
        return RequestError(504, f"There was no answer within {seconds:g} seconds. Try again, or allow more time.")
    return RequestError(408, f"The request did not come within {seconds:g} seconds. Send it faster, or in parts.")
