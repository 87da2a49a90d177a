"""How much each training example counts, from a column of the training table. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from graftwork.errors import Problem
from graftwork_jobs.data.number_cells import number
from graftwork_jobs.data.sources import Example

_SHOWN = 20


def weight_problems(where: str, column: str | None, examples: Sequence[Example]) -> list[Problem]:
    """Cells that are no numbers above 0.

    Args:
        where: YAML path of the training source.
        column: with the weights; None for none.
        examples: of the training source.
    """
    wrong = [each for each in examples if each.weight is not None and not (number(each.weight) or 0.0) > 0.0]
    return [
        Problem(
            where=f"{where}.uri",
            received=f"`{each.weight}` in column {column} of {each.place}"
            + (f", {len(wrong)} such cells" if wrong[1:] else ""),
            expected="a number above 0",
            fix="Correct the cell; delete the row if it is not to count.",
        )
        for each in wrong[:_SHOWN]
    ]


def weights_of(examples: Sequence[Example]) -> NDArray[np.float32] | None:
    """Weights of training examples, 1 on average, shape (n,); None where there is no such column."""
    cells = [each.weight for each in examples if each.weight is not None]
    if not cells:
        return None
    weights = np.array([float(cell) for cell in cells], np.float64)
    return np.asarray(weights / weights.mean(), np.float32)
