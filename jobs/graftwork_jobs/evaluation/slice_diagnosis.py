"""Which slice of the test set a model is weak on, in words. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Final

from graftwork.spec.target_metrics import LOWER_IS_BETTER
from graftwork_jobs.evaluation.findings import Finding
from graftwork_jobs.evaluation.resampling import Interval
from graftwork_jobs.evaluation.slices import Slice, strength
from graftwork_jobs.evaluation.uncertainty import CONFIDENCE

# Weaker by less is not worth acting on, however sure it is: points of a share; part of an error on all examples.
_CLEAR_DROP: Final = 0.05
_CLEAR_RISE: Final = 0.25
_ERRORS_IN_INTERVAL: Final = 2 * NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


def weak_slice(slices: Sequence[Slice], *, score: str, words: str, whole: float, examples: int) -> Finding | None:
    """The slice that is surely and clearly weaker than the rest of the test set; the weakest of several.

    Args:
        slices: of the test set.
        score: key of the figure they are compared by.
        words: its name in a sentence.
        whole: of the test set.
        examples: size of the test set.
    """
    judged = [each for each in slices if not each.is_small and score in each.intervals and each.examples < examples]
    if not judged:
        return None
    # As many comparisons as slices: each is held to a level that much stricter (Bonferroni).
    strictness = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / (2 * len(judged)))
    sign, least = (-1.0, _CLEAR_RISE * whole) if score in LOWER_IS_BETTER else (1.0, _CLEAR_DROP)
    weak = [
        each for each in judged if sign * (whole - each.summary[score]) > max(least, strictness * _error(each, score))
    ]
    if not weak:
        return None
    worst = min(weak, key=lambda each: (strength(each, score), each.value))
    low, high = worst.intervals[score]
    others = f" So are {len(weak) - 1} more slices." if weak[1:] else ""
    return Finding(
        code="weak_slice",
        severity="warning",
        title=f"Weaker where {worst.column} is {worst.value}",
        evidence=f"The {words} is {_figure(score, worst.summary[score])} "
        f"({_figure(score, low)} to {_figure(score, high)}) on the {worst.examples:,} test "
        f"examples where {worst.column} is {worst.value}, and {_figure(score, whole)} on all.{others}",
        advice=(
            f"more training examples where {worst.column} is {worst.value}",
            "a gate on these slices (evaluation.gates with `slice`), so that no model that is worse goes live",
        ),
    )


def _figure(score: str, value: float) -> str:
    """Shares have three places; errors are in the user's units, of any size."""
    return f"{value:.3f}" if score not in LOWER_IS_BETTER else f"{value:.3g}"


def _error(each: Slice, score: str) -> float:
    """Standard error, from the interval's width; infinite where the figure is not known."""
    ends: Interval = each.intervals[score]
    width = ends[1] - ends[0]
    return width / _ERRORS_IN_INTERVAL if math.isfinite(width) else math.inf
