"""Metrics of a classifier from its scores and the true labels. Pure; scikit-learn underneath where it has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from graftwork_jobs.evaluation.calibration import CalibrationBin, calibration_bins, expected_calibration_error
from graftwork_jobs.evaluation.decisions import Cut, answered
from graftwork_jobs.evaluation.soundness import refuse_no_numbers

TOP_K: Final = 5
_FEWEST_CLASSES = 2
_CLASSES_NAMED = 5
_MATRIX_AXES = 2
# Softmax in bfloat16 keeps 8 bits: rows may sum to 1 only within this. Logits miss it by far.
_SUM_TOLERANCE = 2e-2


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """How one class fares.

    Attributes:
        label: its name.
        support: test examples of the class.
        precision: share of the examples given this label that have it; None when none was given it.
        recall: share of the class's examples given this label; None without examples.
        f1: harmonic mean of both; None without examples.
        auc: area under the ROC curve of this class against the rest; None without examples of either side.
    """

    label: str
    support: int
    precision: float | None
    recall: float | None
    f1: float | None
    auc: float | None


@dataclass(frozen=True, kw_only=True)
class ClassificationMetrics:
    """What a test set says of a classifier.

    Attributes:
        labels: class names, in the order of the scores.
        examples: size of the test set.
        summary: figures by name: accuracy, top5_accuracy, precision_macro, recall_macro, f1_macro, auc_macro, loss and
            ece. A figure this test set does not define is left out and `notes` says why.
        per_class: one row a class, in the order of the labels.
        confusion: examples by true (row) and predicted (column) class, shape (classes, classes), int64.
        calibration: how far confidence and accuracy agree, in bins of confidence.
        confidence: mean score of the predicted class.
        notes: what to know when reading the figures.
    """

    labels: tuple[str, ...]
    examples: int
    summary: dict[str, float]
    per_class: tuple[ClassMetrics, ...]
    confusion: NDArray[np.int64]
    calibration: tuple[CalibrationBin, ...]
    confidence: float
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The metrics as plain JSON-ready values."""
        return {
            "examples": self.examples,
            "summary": dict(self.summary),
            "confidence": self.confidence,
            "perClass": [vars(row).copy() for row in self.per_class],
            "labels": list(self.labels),
            "confusion": self.confusion.tolist(),
            "calibration": [vars(row).copy() for row in self.calibration],
            "notes": list(self.notes),
        }


def classification_metrics(
    scores: NDArray[np.float32],
    labels: NDArray[np.int32],
    names: tuple[str, ...] | list[str],
    cut: Cut | None = None,
) -> ClassificationMetrics:
    """Compute every figure of one test set.

    Macro averages go over the classes that have examples in the test set. `top5_accuracy` is given only with more than
    five classes: with fewer, the true class is among the best five whatever the model says. `loss` is the mean natural
    logarithm of the true class's score, negated. `ece` is the expected calibration error in 15
    bins of the answered class's score, which under a cut need not be the highest.

    Args:
        scores: probabilities, shape (examples, classes), float32; each row sums to 1.
        labels: index of the true class, shape (examples,), int32.
        names: class names in the order of the scores.
        cut: decision between two classes; None for the highest score.

    Raises:
        PermanentError: a score is not a number.
        ValueError: shapes, labels or names do not fit together, or rows are not probabilities.
    """
    _check(scores, labels, names)
    probabilities = normalised(scores)
    predicted = answered(probabilities, cut)
    confusion = _confusion(labels, predicted, len(names))
    per_class, absent = _per_class(probabilities, labels, predicted, names, confusion)
    confidence = probabilities[np.arange(len(labels)), predicted]
    bins = calibration_bins(confidence, predicted == labels)
    summary, notes = _summary(probabilities, labels, predicted, per_class)
    summary["ece"] = expected_calibration_error(bins)
    return ClassificationMetrics(
        labels=tuple(names),
        examples=len(labels),
        summary=summary,
        per_class=per_class,
        confusion=confusion,
        calibration=bins,
        confidence=float(confidence.mean()),
        notes=(*_absent_note(absent, len(names)), *notes),
    )


def normalised(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """The scores so that each row sums to 1 in double precision."""
    probabilities = scores.astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities


def _check(scores: NDArray[np.float32], labels: NDArray[np.int32], names: tuple[str, ...] | list[str]) -> None:
    if scores.ndim != _MATRIX_AXES or labels.ndim != 1 or len(scores) != len(labels):
        raise ValueError(
            f"received scores {scores.shape} and labels {labels.shape}, expected (examples, classes) and (examples,)"
        )
    if scores.shape[1] != len(names) or len(names) < _FEWEST_CLASSES:
        raise ValueError(
            f"received {scores.shape[1]} scores a row and {len(names)} names, expected as many, "
            f"at least {_FEWEST_CLASSES}"
        )
    if not len(labels):
        raise ValueError("received no examples, expected at least one")
    if labels.min() < 0 or labels.max() >= len(names):
        raise ValueError(f"received labels {labels.min()}..{labels.max()}, expected 0..{len(names) - 1}")
    refuse_no_numbers(scores)
    sums = scores.sum(axis=1, dtype=np.float64)
    if scores.min() < 0 or np.abs(sums - 1).max() > _SUM_TOLERANCE:
        raise ValueError(
            f"received scores from {scores.min():.3g} with row sums {sums.min():.3g}..{sums.max():.3g}, expected "
            "probabilities (logits need a softmax first)"
        )


def _confusion(labels: NDArray[np.int32], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    from sklearn.metrics import confusion_matrix

    matrix: NDArray[np.int64] = confusion_matrix(labels, predicted, labels=np.arange(classes)).astype(np.int64)
    return matrix


def _per_class(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int32],
    predicted: NDArray[np.int64],
    names: tuple[str, ...] | list[str],
    confusion: NDArray[np.int64],
) -> tuple[tuple[ClassMetrics, ...], list[str]]:
    from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

    precision, recall, f1, support = (
        np.asarray(values)
        for values in precision_recall_fscore_support(
            labels,
            predicted,
            labels=np.arange(len(names)),
            zero_division=0.0,  # pyright: ignore[reportArgumentType]  # a number, whatever its default looks like
        )
    )
    rows = []
    for index, name in enumerate(names):
        present = bool(support[index])
        one_sided = not present or support[index] == len(labels)
        rows.append(
            ClassMetrics(
                label=name,
                support=int(support[index]),
                precision=float(precision[index]) if confusion[:, index].any() else None,
                recall=float(recall[index]) if present else None,
                f1=float(f1[index]) if present else None,
                auc=None if one_sided else float(roc_auc_score(labels == index, probabilities[:, index])),
            )
        )
    return tuple(rows), [row.label for row in rows if not row.support]


def _summary(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int32],
    predicted: NDArray[np.int64],
    per_class: tuple[ClassMetrics, ...],
) -> tuple[dict[str, float], tuple[str, ...]]:
    from sklearn.metrics import log_loss, top_k_accuracy_score

    classes = np.arange(len(per_class))
    notes = []
    summary = {"accuracy": float((predicted == labels).mean())}
    if len(classes) > TOP_K:
        summary["top5_accuracy"] = float(top_k_accuracy_score(labels, probabilities, k=TOP_K, labels=classes))
    else:
        notes.append(f"Top-{TOP_K} accuracy is left out: it says nothing with {len(classes)} classes.")
    present = [row for row in per_class if row.support]
    # A class that is there but was never predicted has precision 0 in the average, as is usual.
    summary["precision_macro"] = float(np.mean([row.precision or 0.0 for row in present]))
    summary["recall_macro"] = float(np.mean([row.recall or 0.0 for row in present]))
    summary["f1_macro"] = float(np.mean([row.f1 or 0.0 for row in present]))
    aucs = [row.auc for row in present if row.auc is not None]
    if aucs:
        summary["auc_macro"] = float(np.mean(aucs))
    else:
        notes.append("AUC is left out: all test examples belong to one class.")
    summary["loss"] = float(log_loss(labels, probabilities, labels=classes))
    return summary, tuple(notes)


def _absent_note(absent: list[str], classes: int) -> tuple[str, ...]:
    if not absent:
        return ()
    shown = ", ".join(absent[:_CLASSES_NAMED]) + (", ..." if len(absent) > _CLASSES_NAMED else "")
    return (f"{len(absent)} of {classes:,} classes have no example here ({shown}); macro averages leave them out.",)
