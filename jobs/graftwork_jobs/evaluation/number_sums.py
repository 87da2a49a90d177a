"""The figures of a regression as functions of sums over the examples, for drawing test sets. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from graftwork_jobs.evaluation.resampling import Draws, Summed

_SMALL = 1e-9


def number_sums(predictions: NDArray[np.float64], truths: NDArray[np.float64]) -> Summed:
    """Sums behind a regression's figures.

    Args:
        predictions: in the user's units, shape (examples, numbers).
        truths: the same, as they should be.
    """
    # Around the mean: squares of large numbers would leave no digits for their differences.
    deviation = truths.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    centred, error = (truths - truths.mean(axis=0)) / scale, (predictions - truths) / scale

    def figures(sums: NDArray[np.float64], examples: int) -> Draws:
        squared, absolute, total, squares = sums.reshape(len(sums), 4, -1).transpose(1, 0, 2)
        spread = squares - total**2 / examples
        known = spread > _SMALL * examples
        explained = np.where(known, 1 - squared / np.where(known, spread, 1.0), 0.0)
        return {
            "r2": explained.mean(axis=1),
            "mae": (absolute / examples * scale).mean(axis=1),
            "rmse": (np.sqrt(squared / examples) * scale).mean(axis=1),
        }

    return Summed(terms=np.concatenate([error**2, np.abs(error), centred, centred**2], axis=1), figures=figures)
