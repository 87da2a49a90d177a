"""What becomes of Ctrl-C and of the polite request to end (SIGTERM): a run leaves nothing behind either way."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SAME_WISH_S: Final = 1.0


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Inside the block SIGTERM raises KeyboardInterrupt in the main thread, as SIGINT does; call it there.

    One that follows another at once is the same wish: a terminal and what was started in it may both pass Ctrl-C on. An
    interrupt within the handling of an interrupt would leave locks in a state that Python cannot undo.
    """
    last = -math.inf

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _SAME_WISH_S:
            last = now
            raise KeyboardInterrupt

    # SIGTERM not by way of SIGINT: shells start background processes with that one ignored, which it stays.
    heard = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        heard.append(signal.SIGINT)
    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait for the end of the block, which then raises KeyboardInterrupt.

    For code that loses an exception raised in its middle. Outside the main thread, where no signal arrives, it does
    nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        arrived.append(number)

    heard = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, remember) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if arrived:
        raise KeyboardInterrupt
