from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from graftwork.interrupts import interrupts_held_back, sigterm_as_interrupt


def _signal_within(number: int, done: list[str]) -> None:
    with interrupts_held_back():
        signal.raise_signal(number)  # to this thread: what is sent to the process may come after the block
        done.append("all of the block")


@pytest.fixture(autouse=True)
def _heard_signals() -> Iterator[None]:
    """Python's own handler of Ctrl-C, also where the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_end_of_the_block(number: int) -> None:
    """The block runs whole, then the interrupt comes; the handlers are as before."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        _signal_within(number, done)
    assert done
    assert {each: signal.getsignal(each) for each in before} == before


def test_an_error_within_the_block_is_not_replaced() -> None:
    """What went wrong is told, even if a signal came as well."""
    with pytest.raises(ValueError, match="wrong"), interrupts_held_back():
        raise ValueError("wrong")


def test_sigterm_is_as_ctrl_c() -> None:
    """Inside the block only."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), sigterm_as_interrupt():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_one_at_once_does_not_disturb_the_first(second: signal.Signals) -> None:
    """Wrappers pass Ctrl-C on that the terminal has sent already."""
    handled = False
    with sigterm_as_interrupt():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            signal.raise_signal(second)
            handled = True
    assert handled
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.fixture
def background() -> Iterator[None]:
    """As a shell starts background processes: deaf to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("background")
def test_sigterm_reaches_a_background_process() -> None:
    """Although Ctrl-C does not."""
    with pytest.raises(KeyboardInterrupt), sigterm_as_interrupt():
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.usefixtures("background")
def test_a_background_process_stays_deaf_to_ctrl_c() -> None:
    """Holding interrupts back does not make it listen."""
    with interrupts_held_back():
        signal.raise_signal(signal.SIGINT)
