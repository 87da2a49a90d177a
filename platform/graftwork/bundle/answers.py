"""From the numbers a model gives to answers: one object per kind of output. Pure; protocols and tables ask it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from graftwork.bundle.manifest import LabelsSignature, NumbersSignature, ScoresSignature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graftwork.bundle.manifest import BinaryThreshold, OutputSignature
    from graftwork.data_files.table_writer import Cell, ColumnKind


class Answers(Protocol):
    """Words for what a model gives.

    Attributes:
        labels: what the numbers are called, in their order.
    """

    labels: tuple[str, ...]

    @property
    def scales(self) -> Sequence[float]:
        """What a difference of each number is measured in."""
        ...

    def row(self, values: NDArray[np.float32], *, top: int) -> dict[str, Any]:
        """An example's answer as JSON-ready values.

        Args:
            values: what the model gave, shape (labels,).
            top: how many labels the client wants to see, where they are ranked.
        """
        ...

    def decisions(self, values: NDArray[np.float32]) -> list[tuple[str, ...]]:
        """The labels each example is answered with; none where the answer is numbers.

        Args:
            values: what the model gave, shape (examples, labels).
        """
        ...

    def tensors(self) -> dict[str, tuple[str, list[int]]]:
        """Output tensors of the Open Inference Protocol by name: datatype, and shape without the number of examples."""
        ...

    def data(self, name: str, values: NDArray[np.float32]) -> list[Any]:
        """A tensor's values, flat.

        Args:
            name: of the tensor.
            values: what the model gave, shape (examples, labels).
        """
        ...

    def columns(self, *, with_scores: bool) -> dict[str, ColumnKind]:
        """Columns of a table that holds an answer in each row, by name.

        Args:
            with_scores: whether there is one for the score of each label, too.
        """
        ...

    def cells(self, values: NDArray[np.float32], *, with_scores: bool) -> list[Cell]:
        """An example's row in that table.

        Args:
            values: what the model gave, shape (labels,).
            with_scores: as in `columns`.
        """
        ...


class ScoreAnswers:
    """One class of several: the likeliest label, or one of two by a threshold; and labels by falling probability."""

    def __init__(self, labels: tuple[str, ...], threshold: BinaryThreshold | None = None) -> None:
        self.labels = labels
        self.scales = (1.0,) * len(labels)
        self._positive = None if threshold is None else labels.index(threshold.positive)
        self._from = 0.0 if threshold is None else np.float32(threshold.at)

    def row(self, values: NDArray[np.float32], *, top: int) -> dict[str, Any]:
        """The label answered, its probability, and the best labels with theirs."""
        best = np.argsort(-values, kind="stable")[:top].tolist()
        answer = int(self._answered(values[None])[0])
        return {
            "label": self.labels[answer],
            "score": _rounded(values[answer]),
            "scores": {self.labels[index]: _rounded(values[index]) for index in best},
        }

    def decisions(self, values: NDArray[np.float32]) -> list[tuple[str, ...]]:
        """The label of each."""
        return [(self.labels[index],) for index in self._answered(values).tolist()]

    def tensors(self) -> dict[str, tuple[str, list[int]]]:
        """All probabilities, and the likeliest label."""
        return {"scores": ("FP32", [len(self.labels)]), "label": ("BYTES", [])}

    def data(self, name: str, values: NDArray[np.float32]) -> list[Any]:
        """Probabilities or labels."""
        if name == "label":
            return [self.labels[index] for index in self._answered(values).tolist()]
        return list(values.ravel().tolist())

    def columns(self, *, with_scores: bool) -> dict[str, ColumnKind]:
        """The label answered, its probability, and that of each label."""
        return {
            "predicted_label": "text",
            "predicted_score": "number",
            **(_score_columns(self.labels) if with_scores else {}),
        }

    def cells(self, values: NDArray[np.float32], *, with_scores: bool) -> list[Cell]:
        """An example's row."""
        answer = int(self._answered(values[None])[0])
        return [self.labels[answer], _rounded(values[answer]), *(_all_rounded(values) if with_scores else ())]

    def _answered(self, values: NDArray[np.float32]) -> NDArray[np.int64]:
        if self._positive is None:
            return np.asarray(values.argmax(axis=1))
        return np.where(values[:, self._positive] >= self._from, self._positive, 1 - self._positive)


class NumberAnswers:
    """Numbers by name.

    Args:
        labels: their names.
        scales: standard deviation of each in the training data; ones by default.
    """

    def __init__(self, labels: tuple[str, ...], scales: Sequence[float] | None = None) -> None:
        self.labels = labels
        self.scales = tuple(scales or [1.0] * len(labels))

    def row(self, values: NDArray[np.float32], *, top: int) -> dict[str, Any]:
        """Every number; `top` ranks nothing here."""
        del top
        return {"values": {name: shown_number(value) for name, value in zip(self.labels, values, strict=True)}}

    def decisions(self, values: NDArray[np.float32]) -> list[tuple[str, ...]]:
        """Nothing is decided."""
        return [()] * len(values)

    def tensors(self) -> dict[str, tuple[str, list[int]]]:
        """All numbers."""
        return {"values": ("FP32", [len(self.labels)])}

    def data(self, name: str, values: NDArray[np.float32]) -> list[Any]:
        """The numbers."""
        del name
        return list(values.ravel().tolist())

    def columns(self, *, with_scores: bool) -> dict[str, ColumnKind]:
        """One a number; there are no scores."""
        del with_scores
        return {f"predicted_{name}": "number" for name in self.labels}

    def cells(self, values: NDArray[np.float32], *, with_scores: bool) -> list[Cell]:
        """An example's row."""
        del with_scores
        return [shown_number(value) for value in values]


class LabelAnswers:
    """Any number of labels: those at or above their thresholds, and labels by falling probability.

    Attributes:
        thresholds: from which probability on each label is given, shape (labels,).
    """

    def __init__(self, labels: tuple[str, ...], thresholds: NDArray[np.float32]) -> None:
        self.labels = labels
        self.scales = (1.0,) * len(labels)
        self.thresholds = thresholds

    def given(self, values: NDArray[np.float32]) -> list[str]:
        """The labels at or above their thresholds, shape of `values` (labels,)."""
        return [label for label, is_given in zip(self.labels, values >= self.thresholds, strict=True) if is_given]

    def row(self, values: NDArray[np.float32], *, top: int) -> dict[str, Any]:
        """The labels given, and the best labels with their probabilities; those given are always among them."""
        order = np.argsort(-values, kind="stable").tolist()
        given = [index for index in order if values[index] >= self.thresholds[index]]
        shown = {*order[:top], *given}
        return {
            "labels": [self.labels[index] for index in given],
            "scores": {self.labels[index]: _rounded(values[index]) for index in order if index in shown},
        }

    def decisions(self, values: NDArray[np.float32]) -> list[tuple[str, ...]]:
        """The labels given to each."""
        return [tuple(self.given(row)) for row in values]

    def tensors(self) -> dict[str, tuple[str, list[int]]]:
        """All probabilities, and whether each label is given."""
        return {"scores": ("FP32", [len(self.labels)]), "given": ("BOOL", [len(self.labels)])}

    def data(self, name: str, values: NDArray[np.float32]) -> list[Any]:
        """Probabilities, or whether they reach the thresholds."""
        found = values >= self.thresholds if name == "given" else values
        return list(found.ravel().tolist())

    def columns(self, *, with_scores: bool) -> dict[str, ColumnKind]:
        """The labels given, and the probability of each label."""
        return {"predicted_labels": "labels", **(_score_columns(self.labels) if with_scores else {})}

    def cells(self, values: NDArray[np.float32], *, with_scores: bool) -> list[Cell]:
        """An example's row."""
        return [self.given(values), *(_all_rounded(values) if with_scores else ())]


def shown_number(value: float | np.float32) -> float:
    """A number as answers and tables show it: to what float32 holds."""
    return float(f"{value:.7g}")


def _score_columns(labels: Sequence[str]) -> dict[str, ColumnKind]:
    return {f"score_{label}": "number" for label in labels}


def _rounded(score: Any) -> float:
    """To what float32 holds."""
    return round(float(score), 7)


def _all_rounded(scores: NDArray[np.float32]) -> list[float]:
    return [_rounded(score) for score in scores]


def answers_for(output: OutputSignature) -> Answers:
    """What puts the output of a bundle into words."""
    match output:
        case ScoresSignature():
            return ScoreAnswers(tuple(output.labels), output.threshold)
        case NumbersSignature():
            return NumberAnswers(tuple(output.labels), output.scales)
        case LabelsSignature():
            return LabelAnswers(tuple(output.labels), np.asarray(output.thresholds, np.float32))
