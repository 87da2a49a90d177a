"""Turns the polite request to end (SIGTERM) into what Ctrl-C does, so that a run leaves nothing behind either way."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Inside the block SIGTERM raises KeyboardInterrupt in the main thread; call it there.

    Enter it again after `ray.init()`: that puts a handler of its own in place, which ends the process with a stack
    trace and leaves Ray's processes to notice by themselves.
    """

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except SystemExit as ended:
        # The signal came between `ray.init()` putting its handler in place and ours replacing it.
        raise KeyboardInterrupt from ended
    finally:
        signal.signal(signal.SIGTERM, before)
