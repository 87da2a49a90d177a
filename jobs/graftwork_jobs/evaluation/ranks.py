"""How much each example moves a figure that depends on the order of the scores. Pure.

The figure of a drawn test set is then, to first order, the figure plus a sum over the drawn examples: one product
instead of sorting every draw. For the area under the ROC curve this is the method of DeLong, DeLong & Clarke-Pearson,
Biometrics 44 (1988), 837-845; for both it is the infinitesimal jackknife: Efron, The Jackknife, the Bootstrap and Other
Resampling Plans (1982), chapter 6.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def auc_influence(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How the area under the ROC curve changes with the weight of each example; the sum is 0.

    Args:
        scores: shape (examples,).
        positive: which should score high; some do and some do not.

    Returns:
        Derivative by each example's weight, at equal weights, shape (examples,).
    """
    above, below = np.sort(scores[positive]), np.sort(scores[~positive])
    beaten = (np.searchsorted(below, scores, "left") + np.searchsorted(below, scores, "right")) / (2 * len(below))
    beating = 1 - (np.searchsorted(above, scores, "left") + np.searchsorted(above, scores, "right")) / (2 * len(above))
    area = beaten[positive].mean()
    moved: NDArray[np.float64] = np.where(positive, (beaten - area) / len(above), (beating - area) / len(below))
    return moved


def average_precision_influence(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How the average precision changes with the weight of each example; the sum is 0.

    Args:
        scores: shape (examples,).
        positive: which should score high; at least one.

    Returns:
        Derivative by each example's weight, at equal weights, shape (examples,).
    """
    order = np.argsort(-scores, kind="stable")
    ranked, hit = scores[order], positive[order].astype(np.float64)
    # Equal scores share a rank: the end of their group.
    group_end = np.searchsorted(-ranked, -ranked, "right") - 1
    group_start = np.searchsorted(-ranked, -ranked, "left")
    given = (group_end + 1).astype(np.float64)
    right = np.cumsum(hit)[group_end]
    precision = right / given
    total = hit.sum()
    average = (hit * precision).sum() / total
    # An example counts in the precision of every hit that ranks no higher.
    gain_of_hit = _sum_from(hit / given, group_start)
    loss_of_all = _sum_from(hit * precision / given, group_start)
    moved = (hit * (precision - average) + hit * gain_of_hit - loss_of_all) / total
    influence = np.empty(len(moved))
    influence[order] = moved
    return influence


def _sum_from(values: NDArray[np.float64], start: NDArray[np.intp]) -> NDArray[np.float64]:
    """Sum of all values from each start on."""
    sums: NDArray[np.float64] = np.concatenate([np.cumsum(values[::-1])[::-1], [0.0]])
    return np.asarray(sums[start])
