"""From which score on one of two classes is answered, and how that is chosen on validation data. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from graftwork.spec.job_evaluation import Threshold

_HALF = 0.5
_EQUAL = 1e-12


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A decision between two classes.

    Attributes:
        positive: index of the class whose score is compared.
        at: the score from which on it is answered.
        negative: index of the class that is answered below.
    """

    positive: int
    at: float
    negative: int


@dataclass(frozen=True, kw_only=True)
class ChosenCut:
    """A cut with what it does on the data it was chosen on.

    Attributes:
        cut: the decision.
        precision: of the positive class; None where it is never answered.
        recall: share of the positive class that is found.
        reached: whether the rule could be kept.
    """

    cut: Cut
    precision: float | None
    recall: float
    reached: bool


def answered(scores: NDArray[np.floating], cut: Cut | None) -> NDArray[np.int64]:
    """The class answered for each example: the one with the highest score, or as the cut says.

    Args:
        scores: shape (examples, classes).
        cut: of two classes; None for the highest score.
    """
    if cut is None:
        return np.asarray(scores.argmax(axis=1))
    given = scores[:, cut.positive] >= cut.at
    return np.where(given, cut.positive, cut.negative).astype(np.int64)


def choose_cut(scores: NDArray[np.float32], labels: NDArray[np.int32], rule: Threshold, positive: int) -> ChosenCut:
    """Choose the score from which on the positive class is answered.

    It lies halfway between two scores of the data, so that rounding cannot turn an answer; among equals the one nearest
    to one half is taken. A precision that no score reaches is come as near to as can be.

    Args:
        scores: of validation data, shape (examples, 2).
        labels: its classes, shape (examples,).
        rule: what is wanted.
        positive: index of the positive class.
    """
    own, has = scores[:, positive].astype(np.float64), labels == positive
    levels = np.unique(own)
    edges = np.concatenate([[levels[0] / 2], (levels[1:] + levels[:-1]) / 2])
    given = len(own) - np.searchsorted(np.sort(own), edges)
    hits = has.sum() - np.searchsorted(np.sort(own[has]), edges)
    count = _Counts(given=given, hits=hits, positives=int(has.sum()), examples=len(own))
    wanted, reached = _wanted(rule, count)
    winners = np.flatnonzero(wanted >= wanted.max() - _EQUAL)
    place = int(winners[np.argmin(np.abs(edges[winners] - _HALF))])
    at = float(edges[place]) if has.any() else _HALF
    return ChosenCut(
        cut=Cut(positive=positive, at=at, negative=1 - positive),
        precision=float(count.precision[place]) if given[place] else None,
        recall=float(count.recall[place]),
        reached=reached and bool(has.any()),
    )


def cut_words(chosen: ChosenCut, names: tuple[str, ...], rule: Threshold) -> str:
    """What was chosen and what it does on the validation data, in a sentence or two."""
    positive = names[chosen.cut.positive]
    if rule.maximize is not None:
        why = f"where {rule.maximize.replace('-', ' ')} is highest"
    elif rule.min_precision is not None:
        why = f"for a precision of at least {rule.min_precision:g}"
    else:
        why = f"for a recall of at least {rule.min_recall:g}"
    precision = "undefined" if chosen.precision is None else f"{chosen.precision:.3f}"
    text = (
        f"{positive} is answered from a score of {chosen.cut.at:.3g} on, {why} on the validation data: precision "
        f"{precision}, recall {chosen.recall:.3f} there."
    )
    return text if chosen.reached else f"{text} No score does better; the rule of the spec could not be kept."


@dataclass(frozen=True, kw_only=True, eq=False)
class _Counts:
    """What each possible cut does: examples it calls positive, and how many of these are; shape (cuts,)."""

    given: NDArray[np.int64]
    hits: NDArray[np.int64]
    positives: int
    examples: int

    @property
    def precision(self) -> NDArray[np.float64]:
        return self.hits / np.maximum(self.given, 1)

    @property
    def recall(self) -> NDArray[np.float64]:
        return self.hits / max(self.positives, 1)

    @property
    def right_negatives(self) -> NDArray[np.int64]:
        return self.examples - self.positives - (self.given - self.hits)


_SCORES: dict[str, Callable[[_Counts], NDArray[np.float64]]] = {
    "f1": lambda count: 2 * count.hits / np.maximum(count.given + count.positives, 1),
    "accuracy": lambda count: (count.hits + count.right_negatives) / count.examples,
    "balanced-accuracy": lambda count: (
        (count.recall + count.right_negatives / max(count.examples - count.positives, 1)) / 2
    ),
}


def _wanted(rule: Threshold, count: _Counts) -> tuple[NDArray[np.float64], bool]:
    """How good each cut is by the rule, and whether any keeps it."""
    if rule.maximize is not None:
        return _SCORES[rule.maximize](count), True
    # What the rule does not name breaks ties, far below any difference that counts.
    if rule.min_precision is not None:
        kept, then, first = count.precision >= rule.min_precision - _EQUAL, count.recall, count.precision
    else:
        kept, then, first = count.recall >= (rule.min_recall or 0.0) - _EQUAL, count.precision, count.recall
    return (np.where(kept, then, -1.0), True) if kept.any() else (first, False)
