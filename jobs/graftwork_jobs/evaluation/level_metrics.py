"""Metrics of levels of an order: those of a classifier, and how far answers are off. Pure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from graftwork_jobs.evaluation.metrics import ClassificationMetrics, classification_metrics

# Says little of levels, and is noted as left out where there are few.
_NOT_OF_LEVELS = "top5_accuracy"


def level_metrics(
    scores: NDArray[np.float32], levels: NDArray[np.int32], names: tuple[str, ...]
) -> ClassificationMetrics:
    """Compute every figure of one test set. The answer is the likeliest level, as an endpoint gives it.

    Beside those of a classifier: `mae`, the mean distance in levels; `within_one`, the share of answers at most one
    level off; `quadratic_kappa`, agreement beyond chance with squared distances as weights, 1 for all right and 0 for
    chance. Source: Cohen 1968, "Weighted kappa".

    Args:
        scores: probabilities, shape (examples, levels), float32; each row sums to 1.
        levels: number of the true level, shape (examples,), int32.
        names: of the levels, from the lowest up.

    Raises:
        PermanentError: a score is not a number.
    """
    metrics = classification_metrics(scores, levels, names)
    off = np.abs(scores.argmax(axis=1) - levels)
    summary = {key: value for key, value in metrics.summary.items() if key != _NOT_OF_LEVELS}
    summary |= {"mae": float(off.mean()), "within_one": float((off <= 1).mean())}
    kappa, notes = quadratic_kappa(metrics.confusion), [note for note in metrics.notes if not note.startswith("Top-")]
    if kappa is None:
        notes.append("Quadratic kappa is left out: all examples and all answers are of one level.")
    else:
        summary["quadratic_kappa"] = kappa
    return replace(metrics, summary=summary, notes=tuple(notes))


def quadratic_kappa(confusion: NDArray[np.int64]) -> float | None:
    """Quadratic-weighted kappa; None where chance leaves nothing to disagree about.

    Args:
        confusion: examples by true (row) and given (column) level, shape (levels, levels).
    """
    levels = np.arange(len(confusion))
    distance = (levels[:, None] - levels[None, :]) ** 2.0
    by_chance = np.outer(confusion.sum(axis=1), confusion.sum(axis=0)) / max(int(confusion.sum()), 1)
    expected = float((distance * by_chance).sum())
    return None if expected == 0 else 1.0 - float((distance * confusion).sum()) / expected
