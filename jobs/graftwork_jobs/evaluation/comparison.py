"""Two models on the same test set: what one gained over the other, and whether chance could have done it. Pure.

Right and wrong answers are compared with McNemar's exact test, all other figures by drawing test sets and judging both
models on each (paired bootstrap). Source: McNemar, Note on the sampling error of the difference between correlated
proportions or percentages, Psychometrika 12 (1947), 153-157; exact as a binomial test of the examples on which only one
of the two is right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from graftwork.spec.target_metrics import LOWER_IS_BETTER, RANGES
from graftwork_jobs.evaluation.resampling import Interval, chance_of_no_difference, percentiles, resampled, varies
from graftwork_jobs.evaluation.uncertainty import CONFIDENCE, most_discordant

if TYPE_CHECKING:
    from graftwork_jobs.targets.base import Judged, Target, Targets

_SIGNIFICANT: Final = 1 - CONFIDENCE


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One figure of both models.

    Attributes:
        metric: its name.
        ours: of the model of this run.
        theirs: of the other one.
        low: lower end of the 95 % confidence interval of `ours` - `theirs`.
        high: its upper end.
        p_value: chance of a difference like this if the two were alike.
        test: how that was computed.
    """

    metric: str
    ours: float
    theirs: float
    low: float
    high: float
    p_value: float
    test: Literal["mcnemar", "bootstrap"]

    @property
    def value(self) -> float:
        """`ours` - `theirs`."""
        return self.ours - self.theirs

    @property
    def gain(self) -> float:
        """By how much the model of this run is better; below 0 where it is worse."""
        return -self.value if self.metric in LOWER_IS_BETTER else self.value

    @property
    def gain_interval(self) -> tuple[float, float]:
        """95 % confidence interval of the gain."""
        return (-self.high, -self.low) if self.metric in LOWER_IS_BETTER else (self.low, self.high)

    @property
    def is_significant(self) -> bool:
        """Whether chance explains it badly."""
        return self.p_value < _SIGNIFICANT


@dataclass(frozen=True, kw_only=True)
class Turned:
    """Test examples by who answers them rightly."""

    both: int
    only_ours: int
    only_theirs: int
    neither: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two models on one test set.

    Attributes:
        alias: under which the other model is registered.
        version: of the other model.
        examples: size of the test set.
        differences: figure by figure.
        turned: examples by who is right; None where answers are neither right nor wrong.
        notes: what to know when reading the figures.
    """

    alias: str
    version: int
    examples: int
    differences: tuple[Difference, ...]
    turned: Turned | None
    notes: tuple[str, ...] = ()

    @property
    def other(self) -> str:
        """The other model in a sentence."""
        return f"{self.alias} (version {self.version})"

    def of(self, metric: str) -> Difference | None:
        """The comparison of one figure; None where the two cannot be compared in it."""
        return next((each for each in self.differences if each.metric == metric), None)

    def as_dict(self) -> dict[str, Any]:
        """The comparison as plain JSON-ready values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class NotCompared:
    """Why there is no comparison.

    Attributes:
        alias: under which the other model is registered.
        reason: a clause, such as `it cannot be opened`.
        matters: whether a person should hear of it.
    """

    alias: str
    reason: str
    matters: bool = True

    def as_dict(self) -> dict[str, Any]:
        """The reason as plain JSON-ready values."""
        return asdict(self)


def compare(
    target: Target, predictions: NDArray[np.float32], targets: Targets, judged: Judged, *, alias: str, version: int
) -> Comparison:
    """Compare the model of this run with another one.

    Args:
        target: what the model of this run predicts.
        predictions: of the model of this run.
        targets: of the test set.
        judged: the other model's predictions of the same examples.
        alias: of the other model.
        version: of the other model.
    """
    ours, theirs = (
        one.metrics(said, targets).summary for one, said in ((target, predictions), (judged.target, judged.predictions))
    )
    our_draws = resampled(target, predictions, targets, ours)
    their_draws = resampled(judged.target, judged.predictions, targets, theirs)
    turned = _turned(target, predictions, targets, judged)
    found = []
    for metric in ours:
        if metric not in theirs or metric in judged.incomparable:
            continue
        drawn = our_draws[metric] - their_draws[metric]
        exact = turned is not None and metric == target.counts_right
        value = ours[metric] - theirs[metric]
        low, high = _ends(target, metric, value, drawn, target.rests_on(metric, targets))
        found.append(
            Difference(
                metric=metric,
                ours=ours[metric],
                theirs=theirs[metric],
                low=low,
                high=high,
                p_value=mcnemar(turned) if exact and turned is not None else chance_of_no_difference(drawn),
                test="mcnemar" if exact else "bootstrap",
            )
        )
    return Comparison(
        alias=alias,
        version=version,
        examples=len(targets),
        differences=tuple(found),
        turned=turned,
        notes=judged.notes,
    )


def _ends(target: Target, metric: str, value: float, drawn: NDArray[np.float64], examples: int) -> Interval:
    """95 % confidence interval of a difference: percentiles of its draws, at least as wide as so many examples allow.

    Where no example is answered differently, no draw is either; more examples might be. Where one or two are, all draws
    lie on one side. So the difference of right answers always, and any other that no draw changes, reaches as far as
    the share of different answers that may remain unseen.

    Args:
        target: what is predicted.
        metric: the figure.
        value: the difference of both models.
        drawn: that of each draw.
        examples: how many bear the figure.
    """
    low, high = percentiles(drawn)
    if metric != target.counts_right and varies((low, high)):
        return low, high
    lowest, highest = target.range_of(metric)
    most = highest - lowest
    if not math.isfinite(most):
        return low, high
    reach = most_discordant(examples) * most
    return max(-most, min(low, value - reach)), min(most, max(high, value + reach))


def mcnemar(turned: Turned) -> float:
    """Exact two-sided p value of McNemar's test."""
    from scipy.stats import binomtest

    discordant = turned.only_ours + turned.only_theirs
    if not discordant:
        return 1.0
    return float(binomtest(turned.only_ours, discordant).pvalue)


def _turned(target: Target, predictions: NDArray[np.float32], targets: Targets, judged: Judged) -> Turned | None:
    ours = target.right(predictions, targets)
    theirs = judged.target.right(judged.predictions, targets)
    if ours is None or theirs is None:
        return None
    return Turned(
        both=int((ours & theirs).sum()),
        only_ours=int((ours & ~theirs).sum()),
        only_theirs=int((~ours & theirs).sum()),
        neither=int((~ours & ~theirs).sum()),
    )


def amount(metric: str, value: float) -> str:
    """How large a difference is: points of shares, or the figure's own unit."""
    if metric in RANGES and metric != "ece":
        return f"{value:.3g}"
    points = f"{100 * value:.1f}"
    return f"{points} point" if points == "1.0" else f"{points} points"


def gain_words(difference: Difference) -> str:
    """What was gained, such as `2.1 points better (95 % interval 0.4 to 3.8)`."""
    low, high = (amount(difference.metric, end).split(" ")[0] for end in difference.gain_interval)
    size = amount(difference.metric, abs(difference.gain))
    which = "better" if difference.gain > 0 else "worse"
    if not difference.gain:
        size, which = "alike", ""
    return f"{size} {which}".strip() + f" (95 % interval {low} to {high})"


def verdict(comparison: Comparison, metric: str, words: str) -> str:
    """The comparison in one or two sentences.

    Args:
        comparison: of the two models.
        metric: the leading figure.
        words: its name at the start of a sentence.
    """
    difference = comparison.of(metric)
    if difference is None:
        return f"{words} of {comparison.other} cannot be compared."
    method = "McNemar's exact test" if difference.test == "mcnemar" else "paired bootstrap"
    sure = "beyond what chance would do" if difference.is_significant else "within what chance would do"
    return (
        f"{words} is {difference.ours:.3f} against {difference.theirs:.3f} of {comparison.other} on the same "
        f"{comparison.examples:,} test examples: {gain_words(difference)}, {sure} ({method}, p "
        f"{_p_words(difference.p_value)})."
    )


def _p_words(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.3f}"  # noqa: PLR2004 (below, digits say nothing more)


def worth_telling(found: Mapping[str, Comparison | NotCompared]) -> list[Comparison | NotCompared]:
    """What a person should hear of, in the order of the aliases."""
    return [each for each in found.values() if isinstance(each, Comparison) or each.matters]
