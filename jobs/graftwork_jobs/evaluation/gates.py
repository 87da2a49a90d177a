"""Gates: conditions on test metrics that decide whether a bundle is registered. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graftwork.spec.fine_tune_job import Gate
from graftwork.spec.target_metrics import LOWER_IS_BETTER


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """What became of one bound of one gate.

    Attributes:
        metric: which test metric.
        value: what the model reached; None when the test set does not define the metric.
        bound: what it had to reach; None when there was nothing to compare with.
        passed: whether it did.
        sentence: the outcome in one sentence.
    """

    metric: str
    value: float | None
    bound: float | None
    passed: bool
    sentence: str


def check_gates(
    gates: Sequence[Gate], metrics: Mapping[str, float], champion_metrics: Mapping[str, Mapping[str, float]]
) -> tuple[GateResult, ...]:
    """Check every bound of every gate, in the order of the spec.

    Args:
        gates: the job's gates.
        metrics: the summary of the test set.
        champion_metrics: stored test metrics of the version each alias points to, by alias; an alias that no version
            carries is left out.

    Returns:
        One result a bound; the model may be registered when all have passed.
    """
    results: list[GateResult] = []
    for gate in gates:
        value = metrics.get(gate.metric)
        if value is not None and not math.isfinite(value):
            value = None
        if gate.min is not None:
            results.append(_bounded(gate.metric, value, gate.min, at_least=True, source="the gate's min"))
        if gate.max is not None:
            results.append(_bounded(gate.metric, value, gate.max, at_least=False, source="the gate's max"))
        if gate.not_worse_than is not None:
            results.append(_compared(gate.metric, value, gate.not_worse_than, champion_metrics))
    return tuple(results)


def _bounded(metric: str, value: float | None, bound: float, *, at_least: bool, source: str) -> GateResult:
    if value is None:
        return GateResult(
            metric=metric,
            value=None,
            bound=bound,
            passed=False,
            sentence=f"{metric} is not defined for this test set, so {source} of {bound:g} is not met.",
        )
    passed = value >= bound if at_least else value <= bound
    relation = "at least" if at_least else "at most"
    shown, limit = _distinct(value, bound)
    return GateResult(
        metric=metric,
        value=value,
        bound=bound,
        passed=passed,
        sentence=f"{metric} {shown} {'meets' if passed else 'misses'} {source}: {relation} {limit}.",
    )


def _compared(
    metric: str, value: float | None, alias: str, champion_metrics: Mapping[str, Mapping[str, float]]
) -> GateResult:
    if alias not in champion_metrics:
        return GateResult(
            metric=metric,
            value=value,
            bound=None,
            passed=True,
            sentence=f"No registered version carries the alias {alias} yet, so there is no {metric} to compare with.",
        )
    bound = champion_metrics[alias].get(metric)
    if bound is None or not math.isfinite(bound):
        return GateResult(
            metric=metric,
            value=value,
            bound=None,
            passed=False,
            sentence=f"The version with alias {alias} has no stored {metric}, so the two cannot be compared. "
            f"Remove this gate, or move the alias to a version that has it.",
        )
    return _bounded(metric, value, bound, at_least=metric not in LOWER_IS_BETTER, source=f"that of {alias}")


def _distinct(value: float, bound: float) -> tuple[str, str]:
    """Both figures with as few decimals, from three on, as tell them apart."""
    for decimals in range(3, 9):
        shown, limit = f"{value:.{decimals}f}", f"{bound:.{decimals}f}"
        if shown != limit or value == bound:
            return shown, limit
    return repr(value), repr(bound)
