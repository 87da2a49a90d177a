"""How each target kind reads what is to be predicted from folders and table cells: the way in, and what all answer for.

Nothing here knows whether an example is a picture or a text, apart from the noun that messages call it by.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from graftwork.errors import Problem
from graftwork.spec.fine_tune_job import Data
from graftwork.spec.tasks import TargetKind
from graftwork_jobs.data.sources import Columns, Example, Source


@dataclass(frozen=True, kw_only=True)
class Found:
    """A source's examples.

    Attributes:
        where: YAML path of the source.
        all: what it lists.
        usable: those that can be read.
        digests: of the content of `usable`.
    """

    where: str
    all: Sequence[Example]
    usable: Sequence[Example]
    digests: Sequence[str]


class TargetCells(ABC):
    """Reads what is to be predicted.

    Attributes:
        balance: whether examples of rare names are worth a warning.
    """

    balance: ClassVar[bool] = True

    @abstractmethod
    def columns(self, source: Source, where: str) -> Columns:
        """Table columns that say what is to be predicted, each with the YAML path of the field that names it."""

    @abstractmethod
    def problems(self, train: Found, others: Sequence[Found], *, needed: int, noun: str) -> list[Problem]:
        """What makes the examples useless.

        Args:
            train: to learn from.
            others: to validate and test with.
            needed: different examples that every group must have, so that each split by fraction gets one.
            noun: what an example is called.
        """

    @abstractmethod
    def names(self, train: Sequence[Example]) -> tuple[str, ...]:
        """Names of classes, labels, numbers or levels, in the order of the model's outputs."""

    @abstractmethod
    def encode(self, examples: Sequence[Example], names: tuple[str, ...]) -> NDArray[Any]:
        """Targets of sound examples, as `Split.targets` has them."""

    @abstractmethod
    def groups(self, examples: Sequence[Example]) -> list[str]:
        """What each example is counted to when shares of the data are drawn: every share gets some of each group."""

    @abstractmethod
    def counts(self, targets: NDArray[Any], names: tuple[str, ...]) -> Mapping[str, int]:
        """Examples of each name; empty where there is no such thing."""


def target_cells(kind: TargetKind, data: Data) -> TargetCells:
    """What reads the targets of a job."""
    match kind:
        case "classes":
            from graftwork_jobs.data.class_cells import ClassCells

            return ClassCells()
        case "numbers":
            from graftwork_jobs.data.number_cells import NumberCells

            return NumberCells(data.target_columns or [])
        case "multilabel":
            from graftwork_jobs.data.label_cells import LabelCells

            return LabelCells(data.target_columns, data.label_separator)
        case "levels":
            from graftwork_jobs.data.level_cells import LevelCells

            return LevelCells(data.label_order or [])
