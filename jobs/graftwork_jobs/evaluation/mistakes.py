"""Where a classifier errs: its most confident mistakes and the classes it confuses. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graftwork_jobs.evaluation.decisions import Cut, answered


@dataclass(frozen=True, kw_only=True)
class MistakenRow:
    """One wrong prediction.

    Attributes:
        row: index of the example in the scores.
        label: index of the true class.
        predicted: index of the class that was answered.
        score: that score.
        true_score: score of the true class.
    """

    row: int
    label: int
    predicted: int
    score: float
    true_score: float


@dataclass(frozen=True, kw_only=True)
class WrongAnswer:
    """One wrong prediction in words.

    Attributes:
        row: index of the example in its test set.
        truth: what is right.
        said: what the model said.
        score: how sure it was, 0..1; None where models of this kind do not say.
        true_score: score of what is right; None as above.
    """

    row: int
    truth: str
    said: str
    score: float | None = None
    true_score: float | None = None


@dataclass(frozen=True, kw_only=True)
class ConfusedPair:
    """Examples of one class taken for another.

    Attributes:
        label: true class.
        predicted: what it was taken for.
        examples: how many.
        share: of all test examples of the true class.
    """

    label: str
    predicted: str
    examples: int
    share: float


@dataclass(frozen=True, kw_only=True)
class ConfusionView:
    """A confusion matrix small enough to look at.

    Attributes:
        labels: classes shown, in the order of the labels; the last is `others` when some are left out.
        matrix: examples by true (row) and predicted (column) class.
        left_out: number of classes gathered in `others`.
    """

    labels: tuple[str, ...]
    matrix: NDArray[np.int64]
    left_out: int


def most_confident_mistakes(
    scores: NDArray[np.float32], labels: NDArray[np.int32], *, limit: int = 12, cut: Cut | None = None
) -> tuple[MistakenRow, ...]:
    """Wrong predictions with the highest scores, most confident first; ties in the order of the examples.

    Args:
        scores: probabilities, shape (examples, classes), float32.
        labels: index of the true class, shape (examples,), int32.
        limit: at most this many.
        cut: decision between two classes; None for the highest score.
    """
    predicted = answered(scores, cut)
    wrong = np.flatnonzero(predicted != labels)
    top = scores[wrong, predicted[wrong]]
    order = wrong[np.argsort(-top, kind="stable")][:limit]
    return tuple(
        MistakenRow(
            row=int(row),
            label=int(labels[row]),
            predicted=int(predicted[row]),
            score=float(scores[row, predicted[row]]),
            true_score=float(scores[row, labels[row]]),
        )
        for row in order
    )


def confused_pairs(
    confusion: NDArray[np.int64], labels: tuple[str, ...], *, limit: int = 12
) -> tuple[ConfusedPair, ...]:
    """The most frequent mistakes, most frequent first."""
    errors = confusion.copy()
    np.fill_diagonal(errors, 0)
    support = confusion.sum(axis=1)
    order = np.argsort(-errors, axis=None, kind="stable")[:limit]
    rows, columns = np.unravel_index(order, errors.shape)
    return tuple(
        ConfusedPair(
            label=labels[row],
            predicted=labels[column],
            examples=int(errors[row, column]),
            share=float(errors[row, column] / support[row]),
        )
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        if errors[row, column]
    )


def confusion_view(confusion: NDArray[np.int64], labels: tuple[str, ...], *, limit: int) -> ConfusionView:
    """The whole matrix, or its most confused classes with all others added up.

    Args:
        confusion: examples by true and predicted class, shape (classes, classes).
        labels: class names.
        limit: show at most this many classes.
    """
    if len(labels) <= limit:
        return ConfusionView(labels=labels, matrix=confusion, left_out=0)
    errors = confusion.copy()
    np.fill_diagonal(errors, 0)
    involved = errors.sum(axis=0) + errors.sum(axis=1)
    shown = np.sort(np.argsort(-involved, kind="stable")[:limit])
    group = np.full(len(labels), limit)
    group[shown] = np.arange(limit)
    matrix = np.zeros((limit + 1, limit + 1), dtype=np.int64)
    np.add.at(matrix, (group[:, None], group[None, :]), confusion)
    left_out = len(labels) - limit
    names = (*(labels[index] for index in shown), f"{left_out} others")
    return ConfusionView(labels=names, matrix=matrix, left_out=left_out)
