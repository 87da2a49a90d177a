"""Elements are begun one ahead of their use, and nothing else about them changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from graftwork_jobs.one_ahead import one_ahead


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_all_elements_come_in_their_order(count: int) -> None:
    """However few there are."""
    assert list(one_ahead(iter(range(count)))) == list(range(count))


def test_the_next_element_is_drawn_before_one_is_given_out() -> None:
    """And no further one: each may hold a batch in a GPU's memory."""
    drawn: list[int] = []

    def elements() -> Iterator[int]:
        for number in range(4):
            drawn.append(number)
            yield number

    ahead = [len(drawn) - number for number in one_ahead(elements())]
    assert ahead == [2, 2, 2, 1]


def test_an_error_of_an_element_reaches_the_caller() -> None:
    """Before the last good element is given out, as it is drawn before."""

    def elements() -> Iterator[int]:
        yield 0
        raise OSError("unreadable")

    with pytest.raises(OSError, match="unreadable"):
        next(one_ahead(elements()))
