"""Gates: conditions on test metrics that decide whether a bundle is registered. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from graftwork.errors import Problem
from graftwork.spec.job_gates import Gate, GateSlice
from graftwork.spec.target_metrics import LOWER_IS_BETTER
from graftwork_jobs.evaluation.comparison import Comparison, NotCompared, amount, gain_words
from graftwork_jobs.evaluation.resampling import SHARES, Interval
from graftwork_jobs.evaluation.slices import Slice
from graftwork_jobs.evaluation.uncertainty import fewest_examples, wilson_interval

_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """What became of one bound of one gate.

    Attributes:
        metric: which test metric.
        value: what the model reached, on the worst slice where slices are judged; None when the test set does not
            define the metric.
        bound: what it had to reach; None when there was nothing to compare with.
        passed: whether it did.
        sentence: the outcome in one sentence.
    """

    metric: str
    value: float | None
    bound: float | None
    passed: bool
    sentence: str


@dataclass(frozen=True, kw_only=True)
class GateFacts:
    """What gates are held against.

    Attributes:
        metrics: the summary of the test set.
        intervals: 95 % confidence intervals of its figures.
        slices: parts of the test set.
        compared: comparison with the model of each alias on the test set, or why there is none; an alias that no
            version carries is left out.
        stored: stored test metrics of the model of each alias.
    """

    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    slices: Sequence[Slice] = ()
    compared: Mapping[str, Comparison | NotCompared] = field(default_factory=dict)
    stored: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def hopeless_gate_problems(gates: Sequence[Gate], examples: int, slices: Mapping[str, Sequence[str]]) -> list[Problem]:
    """Gates that no model can pass on a test set.

    Args:
        gates: of the spec.
        examples: in the test set.
        slices: values of the test examples in each column that cuts the test set.
    """
    found = []
    for number, gate in enumerate(gates):
        where = f"spec.evaluation.gates[{number}]"
        if gate.slice is None:
            problem = _too_few_for(gate, examples, where)
        elif gate.slice.column in slices:
            problem = _no_such_slice(gate.slice, Counter(slices[gate.slice.column]), f"{where}.slice")
        else:
            problem = None
        if problem is not None:
            found.append(problem)
    return found


def _too_few_for(gate: Gate, examples: int, where: str) -> Problem | None:
    """Where even a model without a mistake is not surely good enough."""
    if gate.interval != "whole" or gate.min is None or gate.metric not in SHARES:
        return None
    reached = wilson_interval(1.0, examples)[0]
    if reached >= gate.min:
        return None
    more = f"test on at least {fewest_examples(gate.min):,} examples, or " if gate.min < 1 else ""
    fix = f"{more}set `min: {math.floor(reached * 100) / 100:g}` or lower, or set `interval: part`."
    return Problem(
        where=f"{where}.min",
        received=f"{gate.min:g} for all of the interval of {gate.metric} on {examples:,} test examples",
        expected=f"at most {reached:.3f}, where the interval begins if all of them are answered right",
        fix=f"{fix[0].upper()}{fix[1:]}",
    )


def _no_such_slice(chosen: GateSlice, counts: Mapping[str, int], where: str) -> Problem | None:
    """Where the test set has not the slices that a gate looks at."""
    absent = [value for value in chosen.values or () if value not in counts]
    largest = max((counts[value] for value in chosen.values or counts), default=0)
    if absent:
        there = ", ".join(map(repr, sorted(counts)[:_NAMED]))
        return Problem(
            where=f"{where}.values",
            received=f"{', '.join(map(repr, absent))}, which no test example has",
            expected=f"values in column {chosen.column} of the test set, such as {there}",
            fix="Change or remove it, or test on such examples, too.",
        )
    if largest < chosen.min_examples:
        return Problem(
            where=where,
            received=f"{largest} test examples in the largest slice that the gate looks at",
            expected=f"at least {chosen.min_examples} (minExamples) in one of them",
            fix=f"Set `slice.minExamples: {largest}` or lower, or test on more examples.",
        )
    return None


def check_gates(gates: Sequence[Gate], facts: GateFacts) -> tuple[GateResult, ...]:
    """Check every bound of every gate, in the order of the spec.

    Returns:
        One result a bound; the model may be registered when all have passed.
    """
    return tuple(result for gate in gates for result in _check(gate, facts))


def _check(gate: Gate, facts: GateFacts) -> Iterator[GateResult]:
    value, ends = _finite(facts.metrics.get(gate.metric)), facts.intervals.get(gate.metric)
    for bound, at_least in ((gate.min, True), (gate.max, False)):
        if bound is None:
            continue
        wanted = _Bound(gate=gate, value=bound, at_least=at_least, source=f"the gate's {'min' if at_least else 'max'}")
        yield wanted.of_whole(value, ends) if gate.slice is None else wanted.of_slices(gate.slice, facts.slices)
    if gate.not_worse_than is not None:
        yield _compared(gate, gate.not_worse_than, value, facts)


@dataclass(frozen=True, kw_only=True)
class _Bound:
    """A number that a metric is held against."""

    gate: Gate
    value: float
    at_least: bool
    source: str

    def met(self, value: float, ends: Interval | None) -> bool:
        """Whether the metric, or what the gate asks of its interval, is on the right side."""
        low, high = ends or (value, value)
        match self.gate.interval:
            case "whole":
                value = low if self.at_least else high
            case "part":
                value = high if self.at_least else low
        return value >= self.value if self.at_least else value <= self.value

    def words(self, passed: bool, shown: str) -> str:  # noqa: FBT001 (an outcome)
        """Such as `meets the gate's min: at least 0.9`."""
        asked = {"ignore": "", "whole": "all of the interval ", "part": "part of the interval "}[self.gate.interval]
        relation = "at least" if self.at_least else "at most"
        return f"{'meets' if passed else 'misses'} {self.source}: {asked}{relation} {shown}"

    def of_whole(self, value: float | None, ends: Interval | None) -> GateResult:
        """The outcome on all of the test set."""
        metric = self.gate.metric
        if value is None:
            return GateResult(
                metric=metric,
                value=None,
                bound=self.value,
                passed=False,
                sentence=f"{metric} is not defined for this test set, so {self.source} of {self.value:g} is not met.",
            )
        passed = self.met(value, ends)
        shown, limit = _distinct(value, self.value)
        return GateResult(
            metric=metric,
            value=value,
            bound=self.value,
            passed=passed,
            sentence=f"{metric} {shown}{self._interval(ends)} {self.words(passed, limit)}.",
        )

    def of_slices(self, chosen: GateSlice, slices: Sequence[Slice]) -> GateResult:
        """The outcome on every slice that is asked for; the worst is named."""
        metric, column = self.gate.metric, chosen.column
        there = [each for each in slices if each.column == column]
        if chosen.values is not None:
            there = [each for each in there if each.value in chosen.values]
        missing = sorted(set(chosen.values or ()) - {each.value for each in there})
        large = [each for each in there if each.examples >= chosen.min_examples]
        judged = [each for each in large if _finite(each.summary.get(metric)) is not None]
        left_out = [each.value for each in there if each not in judged]
        failed = [each for each in judged if not self.met(each.summary[metric], each.intervals.get(metric))]
        worst = min(judged, key=lambda each: each.summary[metric] * (1 if self.at_least else -1), default=None)
        passed = bool(judged) and not failed and not missing
        if not judged:
            found = f"No slice by {column} that the gate names has {chosen.min_examples} test examples and the figure"
            sentence = f"{found} {metric}, so it cannot be judged. Lower `slice.minExamples`, or test on more examples"
        elif failed:
            named = "; ".join(self._named(each) for each in failed[:_NAMED])
            more = f"; and {len(failed) - _NAMED} more" if failed[_NAMED:] else ""
            sentence = (
                f"{len(failed)} of {len(judged)} slices of {column} {self._words(failed[0], False)}: {named}{more}"
            )
        else:
            weakest = "" if worst is None else f"; the weakest is {self._named(worst)}"
            sentence = f"{metric} of each of {len(judged)} slices of {column} {self._words(judged[0], True)}{weakest}"
        if missing:
            sentence += f". No test example has {column} {' or '.join(missing)}"
        if left_out and judged:
            sentence += f". Not judged, with fewer than {chosen.min_examples} examples: {_listed(left_out)}"
        return GateResult(
            metric=metric,
            value=None if worst is None else worst.summary[metric],
            bound=self.value,
            passed=passed,
            sentence=f"{sentence}.",
        )

    def _words(self, each: Slice, passed: bool) -> str:  # noqa: FBT001 (an outcome)
        return self.words(passed, _distinct(each.summary[self.gate.metric], self.value)[1]).replace(
            "misses", f"miss in {self.gate.metric}"
        )

    def _named(self, each: Slice) -> str:
        metric = self.gate.metric
        shown, _ = _distinct(each.summary[metric], self.value)
        return f"{each.value} {shown}{self._interval(each.intervals.get(metric))} on {each.examples:,} examples"

    def _interval(self, ends: Interval | None) -> str:
        if self.gate.interval == "ignore" or ends is None:
            return ""
        return f" (95 % interval {ends[0]:.3f} to {ends[1]:.3f})"


def _compared(gate: Gate, alias: str, value: float | None, facts: GateFacts) -> GateResult:
    metric = gate.metric
    compared = facts.compared.get(alias)
    difference = compared.of(metric) if isinstance(compared, Comparison) else None
    if isinstance(compared, Comparison) and difference is not None:
        low, high = difference.gain_interval
        least = {"ignore": difference.gain, "whole": low, "part": high}[gate.interval]
        passed = least >= -gate.margin
        allowed = f"at most {amount(metric, gate.margin)} worse" if gate.margin else "not worse"
        asked = {"ignore": "", "whole": "all of the interval ", "part": "part of the interval "}[gate.interval]
        shown, other = _distinct(difference.ours, difference.theirs)
        return GateResult(
            metric=metric,
            value=difference.ours,
            bound=difference.theirs,
            passed=passed,
            sentence=f"{metric} {shown} {'meets' if passed else 'misses'} that of {compared.other}, {other} on the "
            f"same {compared.examples:,} test examples: {gain_words(difference)}, asked is {asked}{allowed}.",
        )
    if alias not in facts.stored:
        return GateResult(
            metric=metric,
            value=value,
            bound=None,
            passed=True,
            sentence=f"No registered version carries the alias {alias} yet, so there is no {metric} to compare with.",
        )
    if isinstance(compared, NotCompared) and not compared.matters:
        return GateResult(
            metric=metric,
            value=value,
            bound=value,
            passed=True,
            sentence=f"The version with alias {alias} is this very model, which is not worse than itself.",
        )
    return _by_stored(gate, alias, value, facts, _reason(alias, metric, compared))


def _by_stored(gate: Gate, alias: str, value: float | None, facts: GateFacts, reason: str) -> GateResult:
    """Held against what the other model reached on its own test set."""
    metric = gate.metric
    stored = _finite(facts.stored[alias].get(metric))
    if stored is None:
        return GateResult(
            metric=metric,
            value=value,
            bound=None,
            passed=False,
            sentence=f"{reason}The version with alias {alias} has no stored {metric} either, so the two cannot be "
            "compared. Remove this gate, or move the alias to a version that has it.",
        )
    at_least = metric not in LOWER_IS_BETTER
    bound = stored - gate.margin if at_least else stored + gate.margin
    wanted = _Bound(gate=gate, value=bound, at_least=at_least, source=f"that of {alias}")
    result = wanted.of_whole(value, facts.intervals.get(metric))
    return GateResult(
        metric=metric, value=value, bound=stored, passed=result.passed, sentence=f"{reason}{result.sentence}"
    )


def _reason(alias: str, metric: str, compared: Comparison | NotCompared | None) -> str:
    """Why stored metrics are used, as a sentence before the outcome; empty where that needs no word."""
    match compared:
        case None:
            return ""
        case NotCompared():
            why = f"{alias} was not run on this test set ({compared.reason})"
        case _:
            why = f"{metric} of {compared.other} means something else on this test set"
    return f"By stored metrics, for {why}: "


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if names[_NAMED:] else "")


def _distinct(value: float, bound: float) -> tuple[str, str]:
    """Both figures with as few decimals, from three on, as tell them apart."""
    for decimals in range(3, 9):
        shown, limit = f"{value:.{decimals}f}", f"{bound:.{decimals}f}"
        if shown != limit or value == bound:
            return shown, limit
    return repr(value), repr(bound)
