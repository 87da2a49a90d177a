"""Whether a model that says 0.8 is right in 8 of 10 cases. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Source: Guo, Pleiss, Sun, Weinberger, On Calibration of Modern Neural Networks (ICML 2017, arXiv:1706.04599),
# section 4: M = 15 bins of equal width.
BINS: Final = 15


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """Predictions whose confidence lies in (low, high].

    Attributes:
        low: lower end, left out.
        high: upper end, included.
        examples: how many predictions.
        confidence: their mean confidence; None for an empty bin.
        accuracy: share of them that is right; None for an empty bin.
    """

    low: float
    high: float
    examples: int
    confidence: float | None
    accuracy: float | None


def calibration_bins(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], *, bins: int = BINS
) -> tuple[CalibrationBin, ...]:
    """Sort predictions into bins of equal width.

    Args:
        confidence: score of the predicted class, shape (examples,), 0..1.
        correct: whether the prediction is right, shape (examples,).
        bins: how many.
    """
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = bin_of(confidence, bins=bins)
    rows = []
    for index in range(bins):
        inside = place == index
        count = int(inside.sum())
        rows.append(
            CalibrationBin(
                low=float(edges[index]),
                high=float(edges[index + 1]),
                examples=count,
                confidence=float(confidence[inside].mean()) if count else None,
                accuracy=float(correct[inside].mean()) if count else None,
            )
        )
    return tuple(rows)


def bin_of(confidence: NDArray[np.float64], *, bins: int = BINS) -> NDArray[np.int64]:
    """The bin that each confidence, 0..1, falls into; the same shape."""
    places = np.searchsorted(np.linspace(0.0, 1.0, bins + 1), confidence, side="left") - 1
    return np.clip(places, 0, bins - 1).astype(np.int64)


def expected_calibration_error(bins: Sequence[CalibrationBin]) -> float:
    """Mean distance of confidence and accuracy over the bins, weighted by their examples.

    Source: Guo et al. 2017 (arXiv:1706.04599), equation 3.
    """
    total = sum(row.examples for row in bins)
    return sum(
        row.examples * abs(row.confidence - row.accuracy)
        for row in bins
        if row.confidence is not None and row.accuracy is not None
    ) / max(total, 1)
