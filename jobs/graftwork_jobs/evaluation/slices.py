"""Metrics of parts of a test set: one for each value of a column, such as each camera. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from graftwork.spec.target_metrics import LOWER_IS_BETTER
from graftwork_jobs.evaluation.resampling import Interval, intervals, resampled

if TYPE_CHECKING:
    from graftwork_jobs.targets.base import Target, Targets

MOST_SLICES: Final = 40
"""A column is cut into at most this many slices."""
FEW_EXAMPLES: Final = 30
"""Slices of fewer examples are marked: their figures say little."""
# A column of more different numbers than this is cut at its quartiles.
_MOST_NUMBERS: Final = 12
_EMPTY: Final = "(empty)"


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One part of a test set.

    Attributes:
        column: of the test table.
        value: in the column, or several of them in words.
        examples: how many test examples have it.
        summary: their metrics.
        intervals: 95 % confidence interval of each.
    """

    column: str
    value: str
    examples: int
    summary: dict[str, float]
    intervals: dict[str, Interval]

    @property
    def is_small(self) -> bool:
        """Whether its figures say little."""
        return self.examples < FEW_EXAMPLES

    def as_dict(self) -> dict[str, Any]:
        """The slice as plain JSON-ready values."""
        return vars(self).copy()


def strength(each: Slice, metric: str) -> float:
    """How good a slice's figure is, more being better; infinite where it has none."""
    value = each.summary.get(metric)
    if value is None:
        return math.inf
    return -value if metric in LOWER_IS_BETTER else value


def slices_of(
    target: Target, predictions: NDArray[np.float32], targets: Targets, columns: Mapping[str, Sequence[str]]
) -> tuple[Slice, ...]:
    """Judge each slice by itself: columns in their order, values by falling number of examples.

    Args:
        target: what is predicted.
        predictions: of the test set.
        targets: of the test set.
        columns: values of the examples, by column.
    """
    return tuple(
        _judged(target, predictions[rows], targets[rows], column, value)
        for column, values in columns.items()
        for value, rows in _groups(values).items()
    )


def _judged(target: Target, predictions: NDArray[np.float32], targets: Targets, column: str, value: str) -> Slice:
    summary = target.metrics(predictions, targets).summary
    draws = resampled(target, predictions, targets, summary)
    return Slice(
        column=column,
        value=value,
        examples=len(predictions),
        summary=dict(summary),
        intervals=intervals(target, draws, summary, targets),
    )


def _groups(values: Sequence[str]) -> dict[str, NDArray[np.intp]]:
    """Rows by value, the most frequent first; numbers by quartiles; the rarest of very many values together."""
    numbers = _numbers(values)
    if numbers is not None and len(set(numbers)) > _MOST_NUMBERS:
        return _quartiles(np.asarray(numbers))
    ranked = [value for value, _ in sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0]))]
    kept = ranked if len(ranked) <= MOST_SLICES else ranked[: MOST_SLICES - 1]
    cells = np.asarray(values, dtype=object)
    groups = {value or _EMPTY: np.flatnonzero(cells == value) for value in kept}
    if len(ranked) > len(kept):
        groups[f"{len(ranked) - len(kept)} rarer values"] = np.flatnonzero(~np.isin(cells, kept))
    return groups


def _numbers(values: Sequence[str]) -> list[float] | None:
    try:
        found = [float(value) for value in values]
    except ValueError:
        return None
    return found if all(math.isfinite(number) for number in found) else None


def _quartiles(numbers: NDArray[np.float64]) -> dict[str, NDArray[np.intp]]:
    """Rows of each quarter of the numbers; equal numbers stay together."""
    edges = np.unique(np.quantile(numbers, [0.25, 0.5, 0.75], method="lower"))
    place = np.searchsorted(edges, numbers, side="left")
    groups = {}
    for part in np.unique(place):
        rows = np.flatnonzero(place == part)
        groups[f"{numbers[rows].min():g} to {numbers[rows].max():g}"] = rows
    return groups
