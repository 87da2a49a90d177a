"""Metrics of predicted numbers. Pure; scikit-learn underneath."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork_jobs.evaluation.soundness import refuse_no_numbers

_FEWEST_FOR_R2 = 2


@dataclass(frozen=True, kw_only=True)
class NumberRow:
    """How one predicted number fares.

    Attributes:
        name: of the number.
        mae: mean absolute error, in the user's units.
        rmse: root of the mean squared error, in the user's units.
        r2: share of the variance explained; None where all true values are the same.
        mean: of the true values.
        deviation: of the true values.
    """

    name: str
    mae: float
    rmse: float
    r2: float | None
    mean: float
    deviation: float


@dataclass(frozen=True, kw_only=True, eq=False)
class NumberMetrics:
    """What a test set says of a regression.

    Attributes:
        names: of the numbers.
        examples: size of the test set.
        summary: means over the numbers: r2 (0 for a number whose true values are all the same), mae and rmse.
        rows: one a number.
        predictions: in the user's units, shape (examples, names).
        truths: the same, as they should be.
        notes: what to know when reading the figures.
    """

    names: tuple[str, ...]
    examples: int
    summary: dict[str, float]
    rows: tuple[NumberRow, ...]
    predictions: NDArray[np.float32]
    truths: NDArray[np.float32]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The metrics as plain JSON-ready values."""
        return {
            "examples": self.examples,
            "summary": dict(self.summary),
            "perNumber": [vars(row).copy() for row in self.rows],
            "notes": list(self.notes),
        }


def number_metrics(
    predictions: NDArray[np.float32], truths: NDArray[np.float32], names: tuple[str, ...]
) -> NumberMetrics:
    """Compute every figure of one test set.

    Args:
        predictions: in the user's units, shape (examples, names).
        truths: the same, as they should be.
        names: of the numbers.

    Raises:
        PermanentError: a prediction is not a number.
        ValueError: shapes do not fit together, or there is no example.
    """
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    if predictions.shape != truths.shape or predictions.shape[1:] != (len(names),) or not len(predictions):
        raise ValueError(f"received predictions {predictions.shape}, truths {truths.shape} and {len(names)} names")
    refuse_no_numbers(predictions)
    wide, wanted = predictions.astype(np.float64), truths.astype(np.float64)
    mae = mean_absolute_error(wanted, wide, multioutput="raw_values")
    rmse = root_mean_squared_error(wanted, wide, multioutput="raw_values")
    same = (wanted.max(axis=0) == wanted.min(axis=0)) | (len(wanted) < _FEWEST_FOR_R2)
    r2 = np.zeros(len(names)) if same.all() else np.where(same, 0.0, r2_score(wanted, wide, multioutput="raw_values"))
    rows = tuple(
        NumberRow(
            name=name,
            mae=float(mae[place]),
            rmse=float(rmse[place]),
            r2=None if same[place] else float(r2[place]),
            mean=float(wanted[:, place].mean()),
            deviation=float(wanted[:, place].std()),
        )
        for place, name in enumerate(names)
    )
    constant = [row.name for row in rows if row.r2 is None]
    return NumberMetrics(
        names=names,
        examples=len(wanted),
        summary={"r2": float(r2.mean()), "mae": float(np.mean(mae)), "rmse": float(np.mean(rmse))},
        rows=rows,
        predictions=predictions,
        truths=truths,
        notes=tuple(_notes(names, constant)),
    )


def _notes(names: Sequence[str], constant: Sequence[str]) -> Iterator[str]:
    if constant:
        yield f"R2 is not defined for {', '.join(constant)}: all true values are the same."
    if len(names) > 1:
        yield f"MAE and RMSE are means over {len(names)} numbers: they say something where all have the same unit."
