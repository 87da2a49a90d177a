"""How much each training example counts, from a column of the training table. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from graftwork.errors import Problem
from graftwork_jobs.data.number_cells import cell_problems, number
from graftwork_jobs.data.sources import Example


def weight_problems(where: str, column: str | None, examples: Sequence[Example]) -> list[Problem]:
    """Cells that are no numbers above 0: the first ones each, then how many more.

    Args:
        where: YAML path of the training source.
        column: with the weights; None for none.
        examples: of the training source.
    """
    wrong = [each for each in examples if each.weight is not None and not (number(each.weight) or 0.0) > 0.0]
    return cell_problems(
        where,
        [f"`{each.weight}` in column {column} of {each.place}" for each in wrong],
        one="a number above 0",
        several="numbers above 0",
        kind=f"cells of column {column} that are no such numbers",
        fix="Correct the cell; delete the row if it is not to count.",
    )


def weights_of(examples: Sequence[Example]) -> NDArray[np.float32] | None:
    """Weights of training examples, 1 on average, shape (n,); None where there is no such column."""
    cells = [each.weight for each in examples if each.weight is not None]
    if not cells:
        return None
    weights = np.array([float(cell) for cell in cells], np.float64)
    return np.asarray(weights / weights.mean(), np.float32)
