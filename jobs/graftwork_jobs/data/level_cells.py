"""Levels of an order, from folder names or one column; the order stands in the spec. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from graftwork.errors import Problem
from graftwork.near_names import did_you_mean
from graftwork_jobs.data import audit
from graftwork_jobs.data.class_cells import ClassCells
from graftwork_jobs.data.sources import Example
from graftwork_jobs.data.target_cells import Found

_ORDER = "spec.data.labelOrder"


class LevelCells(ClassCells):
    """One level an example; targets are level numbers from the lowest up, shape (n,), int32."""

    def __init__(self, order: Sequence[str]) -> None:
        self._order = tuple(order)

    def names(self, train: Sequence[Example]) -> tuple[str, ...]:
        """Levels in the order of the spec."""
        del train
        return self._order

    def problems(self, train: Found, others: Sequence[Found], *, needed: int, noun: str) -> list[Problem]:
        """As of classes; and levels that the order does not name, or that nothing can be learned of."""
        problems = super().problems(train, others, needed=needed, noun=noun)
        found = Counter(example.label for example in train.all)
        unknown = [
            Problem(
                where=f"{train.where}.uri",
                received=f"level {label} ({count} {noun}s), which {_ORDER} does not name",
                expected=f"one of {', '.join(self._order)}",
                fix=did_you_mean(label, self._order) or "Add it to labelOrder at its place, or correct the label.",
            )
            for label, count in sorted(found.items())
            if label not in self._order
        ]
        missing = [
            Problem(
                where=f"{_ORDER}[{place}]",
                received=f"{level}, of which the training data has no {noun}",
                expected="levels that occur in the training data",
                fix="Add examples of it, or remove it.",
            )
            for place, level in enumerate(self._order)
            if found and level not in found
        ]
        return [*problems, *unknown[: audit.SHOWN], *missing[: audit.SHOWN]]
