"""How far any figure of a test set could have come out otherwise: the bootstrap, all draws at once. Pure.

Nearly every figure is a function of sums over the examples (right answers, squared errors, examples a class ...). A
target kind says which sums, once; a drawn test set is then a row of counts, and the sums of all draws are one product.
A figure that is the same in every draw, such as that of a test set on which all is right, gets the interval that a
share of right answers on as many examples would have.

Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapters 6 and 13.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from graftwork_jobs.evaluation.uncertainty import CONFIDENCE, most_unseen, wilson_interval

if TYPE_CHECKING:
    from graftwork_jobs.targets.base import Target, Targets

Interval: TypeAlias = tuple[float, float]
"""Lowest and highest value that the figure's 95 % confidence interval holds."""
Draws: TypeAlias = dict[str, NDArray[np.float64]]
"""A figure of each drawn test set, shape (draws,), by name."""

RESAMPLES: Final = 1000
"""Draws: the ends of a 95 % interval then rest on 25 draws each."""
_RESAMPLES_ONE_BY_ONE: Final = 200
# Numbers held at a time: 32 MB.
_CHUNK_NUMBERS: Final = 4_000_000
SHARES: Final = frozenset({"accuracy", "top5_accuracy", "exact_match", "within_one"})
"""Figures that count right answers: Wilson's interval is made for them."""
# Drawing twice adds to this error what drawing once had added already: read from the other side, the two cancel.
_BIASED_UPWARD: Final = frozenset({"ece"})
# Draws that differ by less differ by the rounding of their sums.
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, kw_only=True)
class Resamples:
    """Test sets drawn from one, with replacement; the same ones each time they are asked for.

    Attributes:
        examples: size of the test set, and of each draw.
        number: how many draws.
        seed: of the draws.
    """

    examples: int
    number: int = RESAMPLES
    seed: int = 0

    def counts(self) -> Iterator[NDArray[np.float64]]:
        """How often each example was drawn, in chunks of shape (draws, examples)."""
        random = np.random.default_rng([self.seed, self.examples])
        rows = max(1, _CHUNK_NUMBERS // self.examples)
        for start in range(0, self.number, rows):
            size = min(rows, self.number - start)
            drawn = random.integers(0, self.examples, (size, self.examples))
            drawn += np.arange(size)[:, None] * self.examples
            counted = np.bincount(drawn.ravel(), minlength=size * self.examples)
            yield counted.reshape(size, self.examples).astype(np.float64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Summed:
    """The figures of a test set as functions of sums over its examples.

    Attributes:
        terms: what each example adds to each sum, shape (examples, sums); dense or SciPy sparse.
        figures: from sums, shape (draws, sums), and the number of examples in a draw to figures, shape (draws,) each.
    """

    terms: Any
    figures: Callable[[NDArray[np.float64], int], Draws]

    def of_resamples(self, resamples: Resamples) -> Draws:
        """The figures of each draw."""
        sums = np.concatenate([counts @ self.terms for counts in resamples.counts()])
        return self.figures(sums, resamples.examples)


def resampled(
    target: Target, predictions: NDArray[np.float32], targets: Targets, summary: Mapping[str, float], *, seed: int = 0
) -> Draws:
    """Every figure of every draw. The same seed and number of examples give the same draws, which pairs models.

    Kinds without sums are judged draw by draw, on fewer of them.

    Args:
        target: what is predicted.
        predictions: of a test set.
        targets: of the test set.
        summary: the figures of the test set itself.
        seed: of the draws.
    """
    summed = target.summed(predictions, targets, summary)
    if summed is not None:
        return summed.of_resamples(Resamples(examples=len(predictions), seed=seed))
    few = Resamples(examples=len(predictions), number=_RESAMPLES_ONE_BY_ONE, seed=seed)
    rows = (np.repeat(np.arange(few.examples), row.astype(int)) for counts in few.counts() for row in counts)
    each = [target.metrics(predictions[chosen], targets[chosen]).summary for chosen in rows]
    return {name: np.array([one[name] for one in each if name in one]) for name in each[0]}


def intervals(target: Target, draws: Draws, summary: Mapping[str, float], targets: Targets) -> dict[str, Interval]:
    """95 % confidence interval of each figure of a summary.

    Shares of right answers get Wilson's interval, everything else the percentiles of the draws. All of 20 right would
    be right in every draw, and yet is not certain: where the draws do not vary, the interval reaches as far from the
    figure as Wilson's does from 20 of 20, 20 being the examples that the figure rests on.

    Args:
        target: what is predicted.
        draws: the figures of each draw.
        summary: the figures themselves.
        targets: of the test set.
    """
    found: dict[str, Interval] = {}
    for name, value in summary.items():
        if name in SHARES:
            found[name] = wilson_interval(value, len(targets))
        elif name in draws and len(draws[name]):
            low, high = percentiles(draws[name])
            if not varies((low, high)):
                found[name] = around(value, target, name, most_unseen(target.rests_on(name, targets)))
                continue
            if name in _BIASED_UPWARD:
                # Mirrored at the figure itself; where all draws lie above it, it is the upper end.
                low, high = max(0.0, 2 * value - high), max(value, 2 * value - low)
            found[name] = (low, high)
    return found


def varies(interval: Interval) -> bool:
    """Whether draws give a figure different values, rounding aside."""
    return not math.isclose(*interval, rel_tol=_ROUNDING, abs_tol=_ROUNDING)


def around(value: float, target: Target, metric: str, share: float) -> Interval:
    """How far a figure may be off if a share of all examples were answered otherwise; within what it can be.

    A figure without bounds is left as it is: how far off one more example may be, nothing tells.

    Args:
        value: of the figure.
        target: what is predicted.
        metric: its name.
        share: of examples, from 0 to 1.
    """
    lowest, highest = target.range_of(metric)
    if not math.isfinite(highest - lowest):
        return value, value
    reach = share * (highest - lowest)
    return max(lowest, value - reach), min(highest, value + reach)


def percentiles(values: NDArray[np.float64]) -> Interval:
    """What the middle 95 % of the draws lie between."""
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def chance_of_no_difference(differences: NDArray[np.float64]) -> float:
    """Two-sided p value of a difference from its draws: how often they fall on the other side of 0, twice.

    One draw is added to either side, so that no finite number of draws calls anything impossible.
    """
    draws = len(differences)
    below, above = (differences <= 0).sum(), (differences >= 0).sum()
    return float(min(1.0, 2 * (min(below, above) + 1) / (draws + 1)))
