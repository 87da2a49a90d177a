"""Predictions that are no numbers: training diverged, and no figure means anything. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from graftwork.errors import PermanentError


def refuse_no_numbers(predictions: NDArray[np.float32]) -> None:
    """Stop if a prediction is NaN or infinite.

    Args:
        predictions: of a test set, shape (examples, outputs).

    Raises:
        PermanentError: with what to try.
    """
    unusable = int((~np.isfinite(predictions)).any(axis=1).sum())
    if unusable:
        raise PermanentError(
            f"The model's answers are not numbers for {unusable:,} of {len(predictions):,} test examples: training "
            "diverged. Lower phases[].learningRate, or set training.gradientClipNorm to 1.0, and run the job again."
        )
