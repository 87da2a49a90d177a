"""Weights of examples, from a column of a table."""

from __future__ import annotations

from graftwork_jobs.data.sources import Example
from graftwork_jobs.data.weights import weight_problems


def _example(weight: str, line: int) -> Example:
    return Example(input="a text", label="a", place=f"t.csv line {line}", weight=weight)


def test_a_weight_with_separators_is_told_how_numbers_are_written() -> None:
    """A weight above 0 that is written with a comma is refused with the form that numbers take."""
    (problem,) = weight_problems("spec.data.train", "amount", [_example("1,052.11", 2), _example("3", 3)])
    assert problem.received == "`1,052.11` in column amount of t.csv line 2"
    assert problem.expected == "a number above 0, with a point and without separators"


def test_many_bad_weights_are_counted_once() -> None:
    """The first twenty are shown each, the others are one line."""
    problems = weight_problems("spec.data.train", "amount", [_example("-1", line) for line in range(25)])
    assert len(problems) == 21
    assert problems[-1].received == "5 more cells of column amount that are no such numbers (25 in all)"
    assert [each for each in problems[:-1] if "25" in each.received] == []
