"""Classes, from folder names or one column. Pure."""

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


class ClassCells(TargetCells):
    """One class an example; targets are class numbers, shape (n,), int32."""

    def columns(self, source: Source, where: str) -> Columns:
        """`labelColumn`; folders need none."""
        return Columns(named=((f"{where}.labelColumn", source.label_column),), in_folders=True)

    def problems(self, train: Found, others: Sequence[Found], *, needed: int, noun: str) -> list[Problem]:
        """Too few classes or examples of one, and classes that training does not have."""
        if not train.all:
            return []
        members: dict[str, list[str]] = {example.label: [] for example in train.all}
        for example, digest in zip(train.usable, train.digests, strict=True):
            members[example.label].append(digest)
        problems = audit.class_problems(train.where, members, needed, noun)
        for other in others:
            labels = Counter(example.label for example in other.all)
            problems.extend(audit.unknown_label_problems(other.where, labels, members, noun))
        return problems

    def names(self, train: Sequence[Example]) -> tuple[str, ...]:
        """Classes, sorted."""
        return tuple(sorted({example.label for example in train}))

    def encode(self, examples: Sequence[Example], names: tuple[str, ...]) -> NDArray[np.int32]:
        """Class numbers."""
        number = {name: position for position, name in enumerate(names)}
        return np.array([number[example.label] for example in examples], dtype=np.int32)

    def groups(self, examples: Sequence[Example]) -> list[str]:
        """Classes."""
        return [example.label for example in examples]

    def counts(self, targets: NDArray[Any], names: tuple[str, ...]) -> Mapping[str, int]:
        """Examples of each class."""
        return dict(zip(names, np.bincount(targets, minlength=len(names)).tolist(), strict=True))
