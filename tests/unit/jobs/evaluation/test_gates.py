from __future__ import annotations

import math
from typing import Literal

import pytest

from graftwork.spec.fine_tune_job import Gate
from graftwork_jobs.evaluation.gates import check_gates


@pytest.mark.parametrize(
    ("gate", "value", "passed"),
    [
        (Gate(metric="accuracy", min=0.9), 0.9, True),
        (Gate(metric="accuracy", min=0.9), 0.8999, False),
        (Gate(metric="loss", max=0.5), 0.5, True),
        (Gate(metric="loss", max=0.5), 0.51, False),
        (Gate(metric="accuracy", min=0.9), math.nan, False),
        (Gate(metric="loss", max=0.5), math.inf, False),
    ],
)
def test_bounds_include_their_value(gate: Gate, value: float, passed: bool) -> None:
    """A value on the bound passes, one beyond it or not a number fails."""
    (result,) = check_gates([gate], {gate.metric: value}, {})
    assert result.passed is passed


def test_each_bound_has_a_result_of_its_own() -> None:
    """A gate with min, max and notWorseThan gives three results."""
    gate = Gate(metric="accuracy", min=0.5, max=0.99, not_worse_than="champion")
    results = check_gates([gate], {"accuracy": 0.8}, {"champion": {"accuracy": 0.9}})
    assert [(result.bound, result.passed) for result in results] == [(0.5, True), (0.99, True), (0.9, False)]


@pytest.mark.parametrize(
    ("metric", "value", "stored", "passed"),
    [
        ("accuracy", 0.8, 0.8, True),
        ("accuracy", 0.79, 0.8, False),
        ("loss", 0.79, 0.8, True),
        ("loss", 0.81, 0.8, False),
    ],
)
def test_not_worse_than_knows_which_way_is_better(
    metric: Literal["accuracy", "loss"], value: float, stored: float, passed: bool
) -> None:
    """Equal passes; of the loss, less is better."""
    gate = Gate(metric=metric, not_worse_than="champion")
    (result,) = check_gates([gate], {metric: value}, {"champion": {metric: stored}})
    assert result.passed is passed
    assert "champion" in result.sentence


def test_without_a_champion_the_comparison_passes_and_says_so() -> None:
    """The first version of a model has nothing to be compared with."""
    (result,) = check_gates([Gate(metric="accuracy", not_worse_than="champion")], {"accuracy": 0.1}, {})
    assert result.passed
    assert "No registered version" in result.sentence


def test_each_gate_is_compared_with_its_own_alias() -> None:
    """Two gates that name two aliases are held against two versions."""
    gates = [Gate(metric="accuracy", not_worse_than=alias) for alias in ("champion", "challenger")]
    stored = {"champion": {"accuracy": 0.7}, "challenger": {"accuracy": 0.9}}
    assert [result.passed for result in check_gates(gates, {"accuracy": 0.8}, stored)] == [True, False]


def test_a_champion_without_the_metric_fails_with_a_remedy() -> None:
    """What cannot be compared does not pass silently."""
    gate = Gate(metric="auc_macro", not_worse_than="champion")
    (result,) = check_gates([gate], {"auc_macro": 0.9}, {"champion": {"accuracy": 0.5}})
    assert not result.passed
    assert "Remove this gate" in result.sentence


def test_an_undefined_metric_fails() -> None:
    """A gate on a figure that the test set does not define is not met."""
    (result,) = check_gates([Gate(metric="top5_accuracy", min=0.5)], {"accuracy": 1.0}, {})
    assert not result.passed
    assert result.value is None


def test_a_near_miss_is_shown_with_enough_decimals() -> None:
    """The sentence never says that 0.900 misses 0.900."""
    (result,) = check_gates([Gate(metric="accuracy", min=0.9)], {"accuracy": 0.89996}, {})
    assert "0.89996 misses" in result.sentence
    assert "at least 0.90000" in result.sentence
