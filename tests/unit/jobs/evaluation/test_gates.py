from __future__ import annotations

import math
import re
from typing import Any, Literal

import pytest

from graftwork.spec.fine_tune_job import Gate, GateSlice
from graftwork_jobs.evaluation.comparison import Comparison, Difference, NotCompared
from graftwork_jobs.evaluation.gates import GateFacts, check_gates, hopeless_gate_problems
from graftwork_jobs.evaluation.resampling import SHARES
from graftwork_jobs.evaluation.slices import Slice
from graftwork_jobs.evaluation.uncertainty import fewest_examples, wilson_interval


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
    (result,) = check_gates([gate], GateFacts(metrics={gate.metric: value}))
    assert result.passed is passed


def test_each_bound_has_a_result_of_its_own() -> None:
    """A gate with min, max and notWorseThan gives three results."""
    gate = Gate(metric="accuracy", min=0.5, max=0.99, not_worse_than="champion")
    results = check_gates([gate], GateFacts(metrics={"accuracy": 0.8}, stored={"champion": {"accuracy": 0.9}}))
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
    (result,) = check_gates([gate], GateFacts(metrics={metric: value}, stored={"champion": {metric: stored}}))
    assert result.passed is passed
    assert "champion" in result.sentence


def test_without_a_champion_the_comparison_passes_and_says_so() -> None:
    """The first version of a model has nothing to be compared with."""
    (result,) = check_gates([Gate(metric="accuracy", not_worse_than="champion")], GateFacts(metrics={"accuracy": 0.1}))
    assert result.passed
    assert "No registered version" in result.sentence


def test_each_gate_is_compared_with_its_own_alias() -> None:
    """Two gates that name two aliases are held against two versions."""
    gates = [Gate(metric="accuracy", not_worse_than=alias) for alias in ("champion", "challenger")]
    stored = {"champion": {"accuracy": 0.7}, "challenger": {"accuracy": 0.9}}
    assert [result.passed for result in check_gates(gates, GateFacts(metrics={"accuracy": 0.8}, stored=stored))] == [
        True,
        False,
    ]


def test_a_champion_without_the_metric_fails_with_a_remedy() -> None:
    """What cannot be compared does not pass silently."""
    gate = Gate(metric="auc_macro", not_worse_than="champion")
    (result,) = check_gates([gate], GateFacts(metrics={"auc_macro": 0.9}, stored={"champion": {"accuracy": 0.5}}))
    assert not result.passed
    assert "Remove this gate" in result.sentence


def test_an_undefined_metric_fails() -> None:
    """A gate on a figure that the test set does not define is not met."""
    (result,) = check_gates([Gate(metric="top5_accuracy", min=0.5)], GateFacts(metrics={"accuracy": 1.0}))
    assert not result.passed
    assert result.value is None


def test_a_near_miss_is_shown_with_enough_decimals() -> None:
    """The sentence never says that 0.900 misses 0.900."""
    (result,) = check_gates([Gate(metric="accuracy", min=0.9)], GateFacts(metrics={"accuracy": 0.89996}))
    assert "0.89996 misses" in result.sentence
    assert "at least 0.90000" in result.sentence


_INTERVAL = {"accuracy": (0.85, 0.95), "loss": (0.4, 0.6)}


@pytest.mark.parametrize(
    ("gate", "passed"),
    [
        (Gate(metric="accuracy", min=0.84, interval="whole"), True),
        (Gate(metric="accuracy", min=0.86, interval="whole"), False),
        (Gate(metric="accuracy", min=0.94, interval="part"), True),
        (Gate(metric="accuracy", min=0.96, interval="part"), False),
        (Gate(metric="loss", max=0.61, interval="whole"), True),
        (Gate(metric="loss", max=0.59, interval="whole"), False),
        (Gate(metric="loss", max=0.41, interval="part"), True),
        (Gate(metric="loss", max=0.39, interval="part"), False),
    ],
)
def test_a_gate_may_ask_for_the_interval(gate: Gate, passed: bool) -> None:
    """All of it or some of it on the right side, whichever side that is; the sentence shows it."""
    (result,) = check_gates([gate], GateFacts(metrics={"accuracy": 0.9, "loss": 0.5}, intervals=_INTERVAL))
    assert result.passed is passed
    assert "95 % interval" in result.sentence
    assert ("all of" if gate.interval == "whole" else "part of") in result.sentence


def _slice(value: str, accuracy: float, examples: int = 100) -> Slice:
    ends = (accuracy - 0.05, accuracy + 0.05)
    return Slice(
        column="camera", value=value, examples=examples, summary={"accuracy": accuracy}, intervals={"accuracy": ends}
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"values": ["phone"]}, ""),
        ({"min_examples": 40}, ""),
        ({"min_examples": 41}, "gates[1].slice: received 40 test examples in the largest slice"),
        ({"values": ["drone"]}, "received 10 test examples .* Set `slice.minExamples: 10` or lower"),
        ({"values": ["phone", "pone"]}, "gates[1].slice.values: received 'pone', which no test example has, .*'drone'"),
        ({"column": "elsewhere", "values": ["x"]}, ""),
    ],
)
def test_gates_that_nothing_can_pass_are_found_before_training(changes: dict[str, Any], said: str) -> None:
    """The test set's slices are known then."""
    cameras = {"camera": ["phone"] * 40 + ["drone"] * 10}
    chosen = GateSlice(**{"column": "camera", **changes})
    gates = [Gate(metric="accuracy", min=0.5), Gate(metric="accuracy", min=0.8, slice=chosen)]
    problems = hopeless_gate_problems(gates, 50, cameras)
    assert len(problems) == bool(said)
    assert not said or re.search(said.replace("[", r"\[").replace("]", r"\]"), str(problems[0]))


@pytest.mark.parametrize(
    ("gate", "examples", "said"),
    [
        (Gate(metric="accuracy", min=0.9, interval="whole"), 35, None),
        (Gate(metric="accuracy", min=0.9, interval="whole"), 34, "at least 35 examples, or set `min: 0.89`"),
        (
            Gate(metric="accuracy", min=1.0, interval="whole"),
            10_000,
            "Set `min: 0.99` or lower, or set `interval: part`",
        ),
        (Gate(metric="accuracy", min=0.99, interval="part"), 5, None),
        (Gate(metric="accuracy", min=0.99), 5, None),
        (Gate(metric="exact_match", min=0.95, interval="whole"), 20, "at least 73 examples"),
        # Of these a model with a mistake may have the better interval: nothing is sure beforehand.
        (Gate(metric="f1_macro", min=0.95, interval="whole"), 5, None),
    ],
)
def test_gates_that_few_examples_cannot_pass_are_known_beforehand(gate: Gate, examples: int, said: str | None) -> None:
    """What the plan says is what the gate says of a model that answers all of them right."""
    problems = [str(each) for each in hopeless_gate_problems([gate], examples, {})]
    assert len(problems) == (said is not None)
    assert said is None or said in problems[0]
    if gate.metric in SHARES:
        facts = GateFacts(metrics={gate.metric: 1.0}, intervals={gate.metric: wilson_interval(1.0, examples)})
        assert check_gates([gate], facts)[0].passed is (said is None)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 0.95, 0.99, 0.999])
def test_the_fewest_examples_are_just_enough(share: float) -> None:
    """One less, and the interval begins below the share."""
    fewest = fewest_examples(share)
    assert wilson_interval(1.0, fewest)[0] >= share
    assert fewest == 1 or wilson_interval(1.0, fewest - 1)[0] < share


@pytest.mark.parametrize(
    ("changes", "passed", "said"),
    [
        ({}, False, ["1 of 2 slices", "phone 0.700 on 100 examples", "fewer than 30 examples: drone"]),
        ({"values": ["scanner"]}, True, ["each of 1 slices", "scanner 0.900"]),
        ({"values": ["scaner"]}, False, ["No test example has camera scaner"]),
        ({"min_examples": 5}, False, ["2 of 3 slices", "drone 0.100"]),
        ({"min_examples": 500}, False, ["cannot be judged", "minExamples"]),
    ],
)
def test_a_gate_on_slices_judges_each(changes: dict[str, Any], passed: bool, said: list[str]) -> None:
    """Those that fail are named; small ones are not judged, and values that nobody has are."""
    slices = [_slice("phone", 0.7), _slice("scanner", 0.9), _slice("drone", 0.1, examples=10)]
    gate = Gate(metric="accuracy", min=0.8, slice=GateSlice(column="camera", **changes))
    (result,) = check_gates([gate], GateFacts(metrics={"accuracy": 0.95}, slices=slices))
    assert result.passed is passed
    assert [words for words in said if words not in result.sentence] == [], result.sentence


def _compared(metric: str, ours: float, theirs: float, half: float) -> Comparison:
    difference = Difference(
        metric=metric,
        ours=ours,
        theirs=theirs,
        low=ours - theirs - half,
        high=ours - theirs + half,
        p_value=0.2,
        test="bootstrap",
    )
    return Comparison(alias="champion", version=4, examples=250, differences=(difference,), turned=None)


@pytest.mark.parametrize(
    ("metric", "ours", "changes", "passed"),
    [
        ("accuracy", 0.79, {}, False),
        ("accuracy", 0.79, {"margin": 0.02}, True),
        ("accuracy", 0.79, {"interval": "part"}, True),
        ("accuracy", 0.76, {"interval": "part"}, False),
        ("accuracy", 0.81, {"interval": "whole"}, False),
        ("accuracy", 0.84, {"interval": "whole"}, True),
        ("loss", 0.81, {}, False),
        ("loss", 0.81, {"margin": 0.02}, True),
        ("loss", 0.76, {"interval": "whole"}, True),
        ("loss", 0.79, {"interval": "whole"}, False),
    ],
)
def test_champions_are_met_on_the_same_test_set(
    metric: Literal["accuracy", "loss"], ours: float, changes: dict[str, Any], passed: bool
) -> None:
    """Against 0.8 with an interval of 0.03 either way; the stored metric, which differs, is not looked at."""
    gate = Gate(metric=metric, not_worse_than="champion", **changes)
    facts = GateFacts(
        metrics={metric: ours},
        compared={"champion": _compared(metric, ours, 0.8, 0.03)},
        stored={"champion": {metric: 0.8 if not passed else 0.5 if metric == "loss" else 0.99}},
    )
    (result,) = check_gates([gate], facts)
    assert result.passed is passed
    assert "champion (version 4)" in result.sentence
    assert "the same 250 test examples" in result.sentence


@pytest.mark.parametrize(
    "compared",
    [NotCompared(alias="champion", reason="it cannot be run: no such file"), _compared("loss", 1.0, 1.0, 0.1)],
)
def test_stored_metrics_are_the_last_resort_and_said(compared: Comparison | NotCompared) -> None:
    """When the champion cannot be run, or the figure means something else for it."""
    gate = Gate(metric="accuracy", not_worse_than="champion", margin=0.05)
    facts = GateFacts(
        metrics={"accuracy": 0.8}, compared={"champion": compared}, stored={"champion": {"accuracy": 0.84}}
    )
    (result,) = check_gates([gate], facts)
    assert result.passed
    assert result.sentence.startswith("By stored metrics, for ")
    if isinstance(compared, NotCompared):
        assert "no such file" in result.sentence


@pytest.mark.parametrize("interval", ["ignore", "whole", "part"])
def test_a_model_is_not_worse_than_itself(interval: Literal["ignore", "whole", "part"]) -> None:
    """A run that is judged again may find its own model under the alias; its stored figures say nothing then."""
    gate = Gate(metric="accuracy", not_worse_than="champion", interval=interval)
    itself = NotCompared(alias="champion", reason="it is the model of this very run", matters=False)
    facts = GateFacts(
        metrics={"accuracy": 1.0},
        intervals={"accuracy": (0.806, 1.0)},
        compared={"champion": itself},
        stored={"champion": {"accuracy": 1.0}},
    )
    (result,) = check_gates([gate], facts)
    assert result.passed
    assert "is this very model" in result.sentence
