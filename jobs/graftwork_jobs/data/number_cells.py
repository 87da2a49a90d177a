"""Numbers to predict, from the cells of a table. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.errors import Problem
from graftwork_jobs.data.sources import Columns, Example, Source
from graftwork_jobs.data.target_cells import Found, TargetCells

_SHOWN = 20
_LARGEST = float(np.finfo(np.float32).max)


class NumberCells(TargetCells):
    """Numbers from columns; targets have shape (n, columns), float32."""

    balance = False

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)

    def columns(self, source: Source, where: str) -> Columns:
        """`targetColumns`, the same in all data sets."""
        del source, where
        return Columns(
            named=tuple((f"spec.data.targetColumns[{place}]", name) for place, name in enumerate(self._columns))
        )

    def problems(self, train: Found, others: Sequence[Found], *, needed: int, noun: str) -> list[Problem]:
        """Cells that are no numbers, too few examples, columns with nothing to learn from."""
        problems = [
            problem
            for found in (train, *others)
            for problem in number_problems(
                found.where, self._columns, [(example.place, example.cells) for example in found.all]
            )
        ]
        if problems or not train.all:
            return problems
        different = len(set(train.digests))
        # One more: numbers that are to differ need two examples.
        if different < needed + 1:
            problems.append(
                Problem(
                    where=f"{train.where}.uri",
                    received=f"{different} different {noun}s",
                    expected=f"at least {needed + 1}",
                    fix=f"Add {noun}s.",
                )
            )
        return problems + constant_problems(train.where, self._columns, self.encode(train.usable, self._columns))

    def names(self, train: Sequence[Example]) -> tuple[str, ...]:
        """The columns."""
        del train
        return self._columns

    def encode(self, examples: Sequence[Example], names: tuple[str, ...]) -> NDArray[np.float32]:
        """The numbers."""
        numbers = [[float(cell) for cell in example.cells] for example in examples]
        return np.array(numbers, np.float32).reshape(len(examples), len(names))

    def groups(self, examples: Sequence[Example]) -> list[str]:
        """All in one: numbers have no classes to draw from evenly."""
        return [""] * len(examples)

    def counts(self, targets: NDArray[Any], names: tuple[str, ...]) -> Mapping[str, int]:
        """None: numbers cannot be counted like that."""
        del targets, names
        return {}


def number(cell: str) -> float | None:
    """A cell as a number; None if it is none, or none that float32 can hold."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) <= _LARGEST else None


def number_problems(where: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> list[Problem]:
    """Cells that are no numbers: the first ones each, then how many more.

    Args:
        where: YAML path of the source.
        columns: names of the columns.
        rows: place of each example, and its cells.
    """
    wrong = [
        (place, column, cell)
        for place, cells in rows
        for column, cell in zip(columns, cells, strict=True)
        if number(cell) is None
    ]
    return cell_problems(
        where,
        [f"`{cell}` in column {column} of {place}" for place, column, cell in wrong],
        one="a finite number",
        several="finite numbers",
        kind="cells that are no numbers",
        fix="Correct the cell, or delete the row.",
    )


def cell_problems(where: str, received: Sequence[str], *, one: str, several: str, kind: str, fix: str) -> list[Problem]:
    """Cells that are not the numbers they should be: the first ones each, then how many more.

    Args:
        where: YAML path of the source.
        received: each cell and its place.
        one: what a cell should be.
        several: the same of many cells.
        kind: what they are called together.
        fix: of one of them.
    """
    problems = [
        Problem(where=f"{where}.uri", received=each, expected=f"{one}, with a point and without separators", fix=fix)
        for each in received[:_SHOWN]
    ]
    if len(received) > _SHOWN:
        problems.append(
            Problem(
                where=f"{where}.uri",
                received=f"{len(received) - _SHOWN} more {kind} ({len(received)} in all)",
                expected=several,
                fix="Correct the cells, or delete the rows.",
            )
        )
    return problems


def constant_problems(where: str, columns: Sequence[str], numbers: NDArray[np.float32]) -> list[Problem]:
    """Columns with the same number throughout: there is nothing to learn from them.

    Args:
        where: YAML path of the source.
        columns: names of the columns.
        numbers: of the training data, shape (rows, columns).
    """
    return [
        Problem(
            where=f"{where}.uri",
            received=f"{numbers[0, place]:g} in every row of column {column}",
            expected="numbers that differ",
            fix="Remove the column from spec.data.targetColumns, or check how the table was written.",
        )
        for place, column in enumerate(columns)
        if len(numbers) and numbers[:, place].min() == numbers[:, place].max()
    ]
