"""The figures of a classifier as functions of sums over the examples, for drawing test sets. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from graftwork_jobs.evaluation.calibration import BINS, bin_of
from graftwork_jobs.evaluation.decisions import Cut, answered
from graftwork_jobs.evaluation.metrics import TOP_K, normalised
from graftwork_jobs.evaluation.ranks import auc_influence
from graftwork_jobs.evaluation.resampling import Draws, Summed

# As scikit-learn clips scores: the smallest step of the number's type.
_EPSILON: Final = float(np.finfo(np.float64).eps)
# Columns before those of the classes: right, among the best five, log loss, influence on AUC, calibration bins.
_PLAIN: Final = 4


def class_sums(
    scores: NDArray[np.float32], labels: NDArray[np.int32], summary: Mapping[str, float], cut: Cut | None = None
) -> Summed:
    """Sums behind a classifier's figures.

    Args:
        scores: probabilities, shape (examples, classes), float32.
        labels: index of the true class, shape (examples,), int32.
        summary: the figures themselves; only what it holds is drawn.
        cut: decision between two classes; None for the highest score.
    """
    from scipy import sparse

    probabilities = normalised(scores)
    predicted = answered(probabilities, cut)

    rows, classes = np.arange(len(labels)), probabilities.shape[1]
    right = predicted == labels
    true_scores = probabilities[rows, labels]
    plain = np.stack(
        [
            right,
            _rank(probabilities, labels, true_scores) < TOP_K,
            -np.log(np.clip(true_scores, _EPSILON, 1.0)),
            _macro_auc_influence(probabilities, labels) if "auc_macro" in summary else np.zeros(len(labels)),
        ],
        axis=1,
    ).astype(np.float64)
    confidence = probabilities[rows, predicted]

    def spread(columns: NDArray[np.int64], width: int, values: NDArray[np.float64]) -> sparse.csr_array:
        return sparse.csr_array((values, (rows, columns)), shape=(len(rows), width))

    ones = np.ones(len(rows))
    terms = sparse.hstack(
        [
            sparse.csr_array(plain),
            spread(bin_of(confidence), BINS, confidence - right),
            spread(labels.astype(np.int64), classes, right.astype(np.float64)),
            spread(predicted, classes, ones),
            spread(labels.astype(np.int64), classes, ones),
        ],
        format="csr",
    )
    return Summed(terms=terms, figures=partial(_figures, classes=classes, summary=summary))


def _figures(sums: NDArray[np.float64], examples: int, *, classes: int, summary: Mapping[str, float]) -> Draws:
    right, top, loss, auc = sums[:, :_PLAIN].T
    bins, per_class = sums[:, _PLAIN : _PLAIN + BINS], sums[:, _PLAIN + BINS :]
    hits, given, support = (per_class[:, part * classes : (part + 1) * classes] for part in range(3))
    there = support > 0
    present = there.sum(axis=1)
    precision = hits / np.maximum(given, 1)
    recall = hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(given + support, 1)
    figures = {
        "accuracy": right / examples,
        "top5_accuracy": top / examples,
        "precision_macro": (precision * there).sum(axis=1) / present,
        "recall_macro": recall.sum(axis=1) / present,
        "f1_macro": f1.sum(axis=1) / present,
        "auc_macro": np.clip(summary.get("auc_macro", 0.0) + auc, 0.0, 1.0),
        "loss": loss / examples,
        "ece": np.abs(bins).sum(axis=1) / examples,
    }
    return {name: values for name, values in figures.items() if name in summary}


def class_counts(sums: NDArray[np.float64], classes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Examples given each class, and examples of each, from the sums of draws; shape (draws, classes) each."""
    per_class = sums[:, _PLAIN + BINS :]
    return per_class[:, classes : 2 * classes], per_class[:, 2 * classes :]


def _rank(
    probabilities: NDArray[np.float64], labels: NDArray[np.int32], true_scores: NDArray[np.float64]
) -> NDArray[np.int64]:
    """How many classes stand before the true one; among equals later ones do, as in scikit-learn."""
    later = np.arange(probabilities.shape[1]) > labels[:, None]
    before = (probabilities > true_scores[:, None]) | (later & (probabilities == true_scores[:, None]))
    return np.asarray(before.sum(axis=1), np.int64)


def _macro_auc_influence(probabilities: NDArray[np.float64], labels: NDArray[np.int32]) -> NDArray[np.float64]:
    """On the mean of the classes' areas, over the classes that have examples and are not all of them."""
    support = np.bincount(labels, minlength=probabilities.shape[1])
    judged = np.flatnonzero((support > 0) & (support < len(labels)))
    total = np.zeros(len(labels))
    for index in judged:
        total += auc_influence(probabilities[:, index], labels == index)
    return total / max(len(judged), 1)
