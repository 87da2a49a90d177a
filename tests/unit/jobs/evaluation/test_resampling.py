from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from graftwork_jobs.evaluation.ranks import auc_influence, average_precision_influence
from graftwork_jobs.evaluation.resampling import (
    Interval,
    Resamples,
    Summed,
    chance_of_no_difference,
    intervals,
    resampled,
)
from graftwork_jobs.targets.base import Target
from graftwork_jobs.targets.classes import ClassTarget
from graftwork_jobs.targets.labels import LabelTarget
from graftwork_jobs.targets.levels import LevelTarget
from graftwork_jobs.targets.regression import NumberTarget
from tests.unit.jobs.evaluation.builders import draw_scores

_RANKED = {"auc_macro", "map"}


def _case(kind: str, examples: int) -> tuple[Target, NDArray[np.float32], NDArray[Any]]:
    """A target with predictions that know something of the truths; scores are rounded, so that many are equal."""
    random = np.random.default_rng(3)
    match kind:
        case "classes":
            scores, labels = draw_scores(examples, 7, strength=1.5, seed=2)
            rounded = np.round(scores, 2) + np.float32(1e-3)
            return ClassTarget(tuple("abcdefg")), rounded / rounded.sum(axis=1, keepdims=True), labels
        case "levels":
            scores, labels = draw_scores(examples, 4, strength=1.5, seed=2)
            return LevelTarget(tuple("abcd")), scores, labels
        case "labels":
            truths = (random.random((examples, 4)) < (0.5, 0.3, 0.1, 0.6)).astype(np.float32)
            said = np.round(1 / (1 + np.exp(-(3 * truths - 1.5 + random.normal(size=truths.shape)))), 2)
            return LabelTarget(tuple("wxyz"), truths), said.astype(np.float32), truths
        case _:
            numbers = (random.normal(size=(examples, 2)) * (3.0, 0.1) + (1000.0, 5.0)).astype(np.float32)
            said = numbers + random.normal(size=numbers.shape) * (1.0, 0.05)
            return NumberTarget(("m", "n"), numbers), said.astype(np.float32), numbers


@pytest.mark.parametrize("kind", ["classes", "levels", "labels", "numbers"])
def test_sums_over_all_examples_give_the_figures_themselves(kind: str) -> None:
    """The figures made of sums are those that scikit-learn gives."""
    target, predictions, targets = _case(kind, 300)
    summary = target.metrics(predictions, targets).summary
    summed = target.summed(predictions, targets, summary)
    assert isinstance(summed, Summed)
    figures = summed.figures((np.ones((1, 300)) @ summed.terms), 300)
    assert {name: values[0] for name, values in figures.items()} == pytest.approx(summary, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("kind", ["classes", "levels", "labels", "numbers"])
def test_every_draw_is_judged_as_if_it_were_the_test_set(kind: str) -> None:
    """Figures that do not rank are exactly those of the drawn examples; ranked ones vary as much."""
    target, predictions, targets = _case(kind, 250)
    summary = target.metrics(predictions, targets).summary
    draws = resampled(target, predictions, targets, summary)
    counts = np.concatenate(list(Resamples(examples=250).counts()))[:60]
    redone = [
        target.metrics(predictions[rows], targets[rows]).summary
        for rows in (np.repeat(np.arange(250), row.astype(int)) for row in counts)
    ]
    assert set(draws) == set(summary)
    for name, values in draws.items():
        direct = np.array([each[name] for each in redone])
        if name in _RANKED:
            assert np.corrcoef(values[:60], direct)[0, 1] > 0.95
            assert values[:60].std() == pytest.approx(direct.std(), rel=0.15)
        else:
            np.testing.assert_allclose(values[:60], direct, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("influence", "score"),
    [(auc_influence, roc_auc_score), (average_precision_influence, average_precision_score)],
)
def test_influence_is_the_derivative_by_an_examples_weight(influence: Any, score: Any) -> None:
    """A little more weight on an example moves the figure by its influence, equal scores included."""
    random = np.random.default_rng(0)
    positive = random.random(40) < 0.4
    scores = np.round(positive + random.normal(size=40), 1)
    found, step = influence(scores, positive), 1e-6
    assert found.sum() == pytest.approx(0.0, abs=1e-9)
    for place in range(40):
        up, down = np.ones(40), np.ones(40)
        up[place] += step
        down[place] -= step
        moved = score(positive, scores, sample_weight=up) - score(positive, scores, sample_weight=down)
        assert found[place] == pytest.approx(moved / (2 * step), abs=1e-6)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Of 80 test sets from one source, some 95 % give an interval that holds the source's figure."""
    target, predictions, targets = _case("classes", 8_000)
    truth = target.metrics(predictions, targets).summary
    held = dict.fromkeys(("accuracy", "f1_macro", "auc_macro", "loss"), 0)
    for number in range(80):
        part = slice(100 * number, 100 * (number + 1))
        summary = target.metrics(predictions[part], targets[part]).summary
        found = intervals(target, resampled(target, predictions[part], targets[part], summary), summary, targets[part])
        for name in held:
            held[name] += found[name][0] <= truth[name] <= found[name][1]
    assert all(70 <= count <= 80 for count in held.values()), held


def _all_right(*counts: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """So many examples of each class, all of them answered rightly."""
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    return np.where(np.eye(len(counts))[labels] > 0, 0.9, 0.1 / (len(counts) - 1)).astype(np.float32), labels


def _intervals(target: Target, predictions: NDArray[np.float32], targets: NDArray[Any]) -> dict[str, Interval]:
    summary = target.metrics(predictions, targets).summary
    return intervals(target, resampled(target, predictions, targets, summary), summary, targets)


@pytest.mark.parametrize("metric", ["f1_macro", "recall_macro", "precision_macro"])
def test_sixteen_of_sixteen_right_are_no_surer_by_another_figure(metric: str) -> None:
    """Where the classes are of one size, macro figures have the interval of the accuracy: z is 1.96."""
    found = _intervals(ClassTarget(("a", "b")), *_all_right(8, 8))
    assert found[metric] == pytest.approx((16 / (16 + 1.96**2), 1.0), abs=1e-4)
    assert found[metric] == pytest.approx(found["accuracy"])


def test_a_perfect_macro_figure_rests_on_its_smallest_class() -> None:
    """The rare class may be wrong one time in two, whatever the frequent one says, and half of that is in the mean."""
    found = _intervals(ClassTarget(("a", "b")), *_all_right(400, 4))
    assert found["recall_macro"][0] == pytest.approx(8 / (8 + 1.96**2), abs=1e-4)
    assert found["auc_macro"][0] == pytest.approx(4 / (4 + 1.96**2), abs=1e-4)


def test_all_wrong_is_not_certain_either() -> None:
    """At the lower end the interval reaches up as far as at the upper end it reaches down."""
    scores, labels = _all_right(8, 8)
    found = _intervals(ClassTarget(("a", "b")), scores[:, ::-1].copy(), labels)
    assert found["f1_macro"] == pytest.approx((0.0, 1.96**2 / (16 + 1.96**2)), abs=1e-4)


def test_perfect_levels_may_be_off_unseen() -> None:
    """By the whole order at most, which is what their distances and kappa say."""
    found = _intervals(LevelTarget(("low", "middle", "high")), *_all_right(10, 10, 10))
    unseen = 1.96**2 / (30 + 1.96**2)
    assert found["mae"] == pytest.approx((0.0, 2 * unseen), abs=1e-4)
    assert found["quadratic_kappa"][0] == pytest.approx(1 - 2 * 1.96**2 / (10 + 1.96**2), abs=1e-4)


def test_perfect_labels_rest_on_the_rarest() -> None:
    """An example may be wrong in all of its labels at once, so labels do not add up as classes do."""
    truths = np.zeros((40, 2), np.float32)
    truths[:30, 0], truths[35:, 1] = 1, 1
    found = _intervals(LabelTarget(("x", "y"), truths), 0.1 + 0.8 * truths, truths)
    assert found["f1_macro"][0] == pytest.approx(5 / (5 + 1.96**2), abs=1e-4)
    assert found["f1_micro"][0] == pytest.approx(35 / (35 + 1.96**2), abs=1e-4)


def test_the_calibration_errors_interval_surrounds_it() -> None:
    """A drawn test set looks worse calibrated than it is; the interval is not shifted by that."""
    target, predictions, targets = _case("classes", 200)
    summary = target.metrics(predictions, targets).summary
    low, high = intervals(target, resampled(target, predictions, targets, summary), summary, targets)["ece"]
    assert 0 <= low <= summary["ece"] <= high


def test_a_kind_without_sums_is_judged_draw_by_draw() -> None:
    """Any target kind has intervals, about those that sums give."""

    class Plain(NumberTarget):
        summed = Target.summed  # type: ignore[assignment]  # a kind without sums, as the base class has it

    target, predictions, targets = _case("numbers", 150)
    summary = target.metrics(predictions, targets).summary
    plain = Plain(("m", "n"), targets)
    slow = intervals(plain, resampled(plain, predictions, targets, summary), summary, targets)
    fast = intervals(target, resampled(target, predictions, targets, summary), summary, targets)
    for name, (low, high) in slow.items():
        assert (low, high) == pytest.approx(fast[name], abs=0.5 * (high - low))


def test_large_test_sets_take_seconds() -> None:
    """1,000 draws of 20,000 examples and 100 classes are within reach of every run."""
    scores, labels = draw_scores(20_000, 100, strength=3.0)
    target = ClassTarget(tuple(map(str, range(100))))
    summary = {"accuracy": 0.5, "f1_macro": 0.5, "auc_macro": 0.9, "ece": 0.1}
    began = time.process_time()
    resampled(target, scores, labels, summary)
    assert time.process_time() - began < 30


def test_a_difference_that_never_turns_is_not_chance() -> None:
    """P falls with the number of draws on one side, and is 1 in the middle."""
    assert chance_of_no_difference(np.full(999, 0.1)) == pytest.approx(0.002)
    assert chance_of_no_difference(np.linspace(-1, 1, 999)) == 1.0
