"""Metrics of any number of labels an example. Pure; scikit-learn underneath.

mAP is the mean of the labels' average precisions. Source: scikit-learn's user guide, 3.4.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork_jobs.evaluation.calibration import CalibrationBin, calibration_bins, expected_calibration_error
from graftwork_jobs.evaluation.soundness import refuse_no_numbers

_EPSILON = 1e-7


@dataclass(frozen=True, kw_only=True)
class LabelRow:
    """How one label fares.

    Attributes:
        label: its name.
        support: test examples that have it.
        threshold: from which probability on it is given.
        precision: share of right answers among those that give it; 0 where none does.
        recall: share of the examples with it that were given it; None where there is none.
        f1: harmonic mean of the two; None as above.
        average_precision: area below precision over recall; None as above.
    """

    label: str
    support: int
    threshold: float
    precision: float
    recall: float | None
    f1: float | None
    average_precision: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelMetrics:
    """What a test set says of a multi-label classifier.

    Attributes:
        labels: their names.
        examples: size of the test set.
        summary: f1_macro, f1_micro, map, precision_macro, recall_macro, exact_match, loss and ece; macro figures go
            over the labels that occur in the test set.
        rows: one a label.
        predictions: probabilities, shape (examples, labels).
        truths: 1 where an example has the label, the same shape.
        calibration: how far probability and frequency agree over all answers of all labels, in bins of probability.
        notes: what to know when reading the figures.
    """

    labels: tuple[str, ...]
    examples: int
    summary: dict[str, float]
    rows: tuple[LabelRow, ...]
    predictions: NDArray[np.float32]
    truths: NDArray[np.float32]
    calibration: tuple[CalibrationBin, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The metrics as plain JSON-ready values."""
        return {
            "examples": self.examples,
            "summary": dict(self.summary),
            "perLabel": [vars(row).copy() for row in self.rows],
            "calibration": [vars(row).copy() for row in self.calibration],
            "notes": list(self.notes),
        }


def label_metrics(
    predictions: NDArray[np.float32],
    truths: NDArray[np.float32],
    names: tuple[str, ...],
    thresholds: NDArray[np.float32],
) -> LabelMetrics:
    """Compute every figure of one test set.

    Args:
        predictions: probabilities, shape (examples, labels).
        truths: 1 where an example has the label, the same shape.
        names: of the labels.
        thresholds: from which probability on each label is given, shape (labels,).

    Raises:
        PermanentError: a probability is not a number.
        ValueError: shapes do not fit together, or there is no example.
    """
    from sklearn.metrics import average_precision_score, f1_score, precision_recall_fscore_support

    if predictions.shape != truths.shape or predictions.shape[1:] != (len(names),) or not len(predictions):
        raise ValueError(f"received predictions {predictions.shape}, truths {truths.shape} and {len(names)} names")
    refuse_no_numbers(predictions)
    wanted, given = truths > 0, predictions >= thresholds
    precision, recall, f1, support = precision_recall_fscore_support(wanted, given, average=None, zero_division=0.0)
    rows = tuple(
        LabelRow(
            label=name,
            support=int(support[place]),
            threshold=float(thresholds[place]),
            precision=float(precision[place]),
            recall=float(recall[place]) if support[place] else None,
            f1=float(f1[place]) if support[place] else None,
            average_precision=float(average_precision_score(wanted[:, place], predictions[:, place]))
            if support[place]
            else None,
        )
        for place, name in enumerate(names)
    )
    occurring = [row for row in rows if row.support]
    missing = [row.label for row in rows if not row.support]
    bins = calibration_bins(predictions.astype(np.float64).ravel(), wanted.ravel())
    summary = {
        "f1_macro": _mean([row.f1 for row in occurring]),
        "f1_micro": float(f1_score(wanted, given, average="micro", zero_division=0.0)),
        "map": _mean([row.average_precision for row in occurring]),
        "precision_macro": _mean([row.precision for row in occurring]),
        "recall_macro": _mean([row.recall for row in occurring]),
        "exact_match": float((wanted == given).all(axis=1).mean()),
        "loss": float(log_losses(predictions, wanted).mean()),
        "ece": expected_calibration_error(bins),
    }
    return LabelMetrics(
        labels=names,
        examples=len(predictions),
        summary=summary,
        rows=rows,
        predictions=predictions,
        truths=truths,
        calibration=bins,
        notes=(f"Macro figures leave out {', '.join(missing)}: no test example has it.",) if missing else (),
    )


def log_losses(predictions: NDArray[np.float32], wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Negative log likelihood of each answer, shape (examples, labels)."""
    clipped = np.clip(predictions.astype(np.float64), _EPSILON, 1 - _EPSILON)
    return -np.where(wanted, np.log(clipped), np.log1p(-clipped))


def best_thresholds(probabilities: NDArray[np.float32], truths: NDArray[np.float32]) -> NDArray[np.float32]:
    """From which probability on to give each label, so that its F1 on this data is highest; 0.5 where none has it.

    Each threshold lies halfway between the two probabilities that it parts, so that rounding cannot turn an answer.
    Among equals the one nearest to 0.5 is taken.

    Args:
        probabilities: shape (examples, labels).
        truths: 1 where an example has the label, the same shape.

    Returns:
        Shape (labels,), float32, inside 0..1.
    """
    return np.array(
        [_best(probabilities[:, place], truths[:, place] > 0) for place in range(truths.shape[1])], np.float32
    )


def _best(probabilities: NDArray[np.float32], has: NDArray[np.bool_]) -> float:
    if not has.any():
        return 0.5
    levels = np.unique(probabilities.astype(np.float64))
    edges = np.concatenate([[levels[0] / 2], (levels[1:] + levels[:-1]) / 2])
    order = np.sort(probabilities.astype(np.float64))
    right = np.sort(probabilities[has].astype(np.float64))
    given = len(order) - np.searchsorted(order, edges)
    hits = len(right) - np.searchsorted(right, edges)
    f1 = 2 * hits / (given + len(right))
    winners = edges[f1 >= f1.max() - 1e-12]
    return float(winners[np.argmin(np.abs(winners - 0.5))])


def _mean(values: list[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else 0.0
