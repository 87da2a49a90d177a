"""The figures of levels of an order as functions of sums over the examples, for drawing test sets. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from graftwork_jobs.evaluation.class_sums import class_counts, class_sums
from graftwork_jobs.evaluation.resampling import Draws, Summed

# Columns after those of a classifier: distance in levels, at most one level off, squared distance.
_OWN = 3


def level_sums(scores: NDArray[np.float32], levels: NDArray[np.int32], summary: Mapping[str, float]) -> Summed:
    """Sums behind the figures of levels: those of a classifier, and distances.

    Args:
        scores: probabilities, shape (examples, levels), float32.
        levels: number of the true level, shape (examples,), int32.
        summary: the figures themselves; only what it holds is drawn.
    """
    from scipy import sparse

    classes, count = class_sums(scores, levels, summary), scores.shape[1]
    off = np.abs(scores.argmax(axis=1) - levels).astype(np.float64)
    own = sparse.csr_array(np.stack([off, off <= 1, off**2], axis=1))
    number = np.arange(count)
    distance = (number[:, None] - number[None, :]) ** 2.0

    def figures(sums: NDArray[np.float64], examples: int) -> Draws:
        of_classes, (total, near, squared) = sums[:, :-_OWN], sums[:, -_OWN:].T
        given, support = class_counts(of_classes, count)
        expected = np.einsum("di,ij,dj->d", support, distance, given) / examples
        own_figures = {
            "mae": total / examples,
            "within_one": near / examples,
            "quadratic_kappa": 1 - squared / np.where(expected > 0, expected, np.inf),
        }
        known = {name: values for name, values in own_figures.items() if name in summary}
        return {**classes.figures(of_classes, examples), **known}

    return Summed(terms=sparse.hstack([classes.terms, own], format="csr"), figures=figures)
