"""Any number of labels an example, from one column of names or from a column a label. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.errors import Problem
from graftwork_jobs.data import audit
from graftwork_jobs.data.sources import Columns, Example, Source
from graftwork_jobs.data.target_cells import Found, TargetCells

_YES, _NO = frozenset({"1", "1.0", "true", "yes"}), frozenset({"0", "0.0", "false", "no", ""})
_SEPARATORS = ("|", ";", ",", " ")
_SHOWN = 20


class LabelCells(TargetCells):
    """Labels; targets are 1 where an example has the label, else 0, shape (n, labels), float32."""

    def __init__(self, columns: Sequence[str] | None, separator: str) -> None:
        """From `data.targetColumns`, a column a label, or from `data.labelSeparator`, names in one column."""
        self._columns = None if columns is None else tuple(columns)
        self._separator = separator

    def columns(self, source: Source, where: str) -> Columns:
        """`targetColumns`, or `labelColumn`; an empty cell stands for no label."""
        named = (
            ((f"{where}.labelColumn", source.label_column),)
            if self._columns is None
            else tuple((f"spec.data.targetColumns[{place}]", name) for place, name in enumerate(self._columns))
        )
        return Columns(named=named, may_be_empty=True)

    def problems(self, train: Found, others: Sequence[Found], *, needed: int, noun: str) -> list[Problem]:
        """Cells that say neither yes nor no, unknown labels, labels with nothing to learn, too few examples."""
        problems = [problem for found in (train, *others) for problem in self._unclear_cells(found)]
        if problems or not train.all:
            return problems
        names = self.names(train.all)
        if self._columns is None:
            problems += self._one_label_each(train)
            for other in others:
                labels = Counter(label for example in other.all for label in self._labels(example))
                problems += audit.unknown_label_problems(other.where, labels, names, noun)
        different = len(set(train.digests))
        if different < needed + 1:
            problems.append(
                Problem(
                    where=f"{train.where}.uri",
                    received=f"{different} different {noun}s",
                    expected=f"at least {needed + 1}",
                    fix=f"Add {noun}s.",
                )
            )
        return problems + self._nothing_to_learn(train, names, noun)

    def names(self, train: Sequence[Example]) -> tuple[str, ...]:
        """The columns, or all names that occur, sorted."""
        if self._columns is not None:
            return self._columns
        return tuple(sorted({label for example in train for label in self._labels(example)}))

    def encode(self, examples: Sequence[Example], names: tuple[str, ...]) -> NDArray[np.float32]:
        """1 where an example has the label."""
        targets = np.zeros((len(examples), len(names)), np.float32)
        place = {name: number for number, name in enumerate(names)}
        for row, example in enumerate(examples):
            targets[row, [place[label] for label in self._labels(example)]] = 1.0
        return targets

    def groups(self, examples: Sequence[Example]) -> list[str]:
        """The rarest label of each example, so that every share gets some of the rare ones; empty for none."""
        sets = [self._labels(example) for example in examples]
        often = Counter(label for labels in sets for label in labels)
        return [min(labels, key=lambda label: (often[label], label), default="") for labels in sets]

    def counts(self, targets: NDArray[Any], names: tuple[str, ...]) -> Mapping[str, int]:
        """Examples that have each label."""
        return dict(zip(names, targets.sum(axis=0).astype(int).tolist(), strict=True))

    def _labels(self, example: Example) -> tuple[str, ...]:
        if self._columns is not None:
            cells = zip(self._columns, example.cells, strict=True)
            return tuple(name for name, cell in cells if cell.lower() in _YES)
        names = (name.strip() for name in example.cells[0].split(self._separator))
        return tuple(dict.fromkeys(name for name in names if name))

    def _unclear_cells(self, found: Found) -> list[Problem]:
        if self._columns is None:
            return []
        wrong = [
            (example.place, name, cell)
            for example in found.all
            for name, cell in zip(self._columns, example.cells, strict=True)
            if cell.lower() not in _YES | _NO
        ]
        return [
            Problem(
                where=f"{found.where}.uri",
                received=f"`{cell}` in column {name} of {place}" + (f", {len(wrong)} such cells" if wrong[1:] else ""),
                expected="1 or 0, true or false, yes or no, or nothing for no",
                fix="Correct the cell. Names of labels in one column are read with `labelColumn` and `labelSeparator`.",
            )
            for place, name, cell in wrong[:_SHOWN]
        ]

    def _one_label_each(self, train: Found) -> list[Problem]:
        cells = [example.cells[0] for example in train.all]
        if any(self._separator in cell for cell in cells):
            return []
        other = next((each for each in _SEPARATORS if any(each in cell for cell in cells)), None)
        return [
            Problem(
                where=f"{train.where}.uri",
                received=f"no `{self._separator}` in any label cell",
                expected="some examples with several labels",
                fix=f"Set spec.data.labelSeparator to what stands between labels{f' (`{other}`?)' if other else ''}; "
                "for one label an example use a task of classification.",
            )
        ]

    def _nothing_to_learn(self, train: Found, names: tuple[str, ...], noun: str) -> list[Problem]:
        if not names:
            return [
                Problem(
                    where=f"{train.where}.uri",
                    received="no label in any cell",
                    expected=f"{noun}s that have labels",
                    fix="Check spec.data.train.labelColumn.",
                )
            ]
        having = self.encode(train.usable, names).sum(axis=0)
        return [
            Problem(
                where=f"{train.where}.uri",
                received=f"label {name} in {'no' if not count else 'every'} row",
                expected=f"{noun}s with it and {noun}s without it",
                fix=f"Add {noun}s, or leave the label out.",
            )
            for name, count in zip(names, having.tolist(), strict=True)
            if count in {0, len(train.usable)}
        ]
