"""Ray's blocking calls in a thread of their own, so that Ctrl-C stays the main thread's.

Ray takes over Ctrl-C when it runs in the main thread, and never gives it back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class RayThread:
    """Work that goes on beside the main thread.

    Attributes:
        stop: set it to end the work.
        ended: set when the thread does nothing with Ray any more. Not the thread's `join`: after a Ctrl-C within that,
            CPython 3.11 takes the thread for ended.
        failure: what the work raised, if anything.
    """

    stop: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    failure: Exception | None = None


@contextmanager
def in_ray_thread(work: Callable[[threading.Event], object], *, stop_within_s: float) -> Iterator[RayThread]:
    """Run work beside the block; at the block's end, however it ends, the work is told to stop and waited for.

    A Ray that is shut down under a call would end the process.

    Args:
        work: takes the event that tells it to stop.
        stop_within_s: seconds after which the wait is given up.
    """
    state = RayThread()

    def run() -> None:
        try:
            work(state.stop)
        except Exception as error:  # carried to the main thread, which raises it
            state.failure = error
        finally:
            state.ended.set()

    threading.Thread(target=run, name="ray", daemon=True).start()
    try:
        yield state
    finally:
        state.stop.set()
        state.ended.wait(stop_within_s)
