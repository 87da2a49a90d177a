from __future__ import annotations

from math import comb
from typing import Literal

import numpy as np
import pytest

from graftwork.bundle.manifest import BinaryThreshold, LabelsSignature, NumbersSignature, ScoresSignature
from graftwork.spec.job_evaluation import Threshold
from graftwork.spec.job_gates import Gate
from graftwork_jobs.evaluation.comparison import Comparison, Difference, Turned, compare, gain_words, mcnemar, verdict
from graftwork_jobs.evaluation.gates import GateFacts, check_gates
from graftwork_jobs.targets.base import Judged, NotComparableError
from graftwork_jobs.targets.classes import ClassTarget
from graftwork_jobs.targets.labels import LabelTarget
from graftwork_jobs.targets.regression import NumberTarget
from tests.unit.jobs.evaluation.builders import draw_scores

_NAMES = ("a", "b", "c")


def _against(strength: float, *, other: float = 1.0, examples: int = 300) -> Comparison:
    """A model against one that knows `other` as much, on the same examples."""
    scores, labels = draw_scores(examples, 3, strength=strength)
    theirs, _ = draw_scores(examples, 3, strength=other)
    target = ClassTarget(_NAMES)
    judged = target.judging(ScoresSignature(labels=list(_NAMES)), theirs)
    return compare(target, scores, labels, judged, alias="champion", version=2)


def test_mcnemar_is_the_sign_test_of_what_only_one_gets_right() -> None:
    """Twice the binomial tail; 1 where the models never differ."""
    turned = Turned(both=50, only_ours=9, only_theirs=2, neither=10)
    assert mcnemar(turned) == pytest.approx(2 * sum(comb(11, k) for k in range(3)) / 2**11)
    assert mcnemar(Turned(both=50, only_ours=0, only_theirs=0, neither=10)) == 1.0


def test_a_better_model_is_called_better_in_every_figure() -> None:
    """Gains are positive whichever way a figure points; examples by who is right add up."""
    found = _against(2.5)
    assert {each.metric for each in found.differences} >= {"accuracy", "loss", "f1_macro", "auc_macro"}
    for metric in ("accuracy", "loss", "f1_macro", "auc_macro"):
        difference = found.of(metric)
        assert difference is not None
        assert difference.gain > 0
        assert difference.gain_interval[0] > 0
        assert difference.is_significant
    turned, accuracy = found.turned, found.of("accuracy")
    assert turned is not None
    assert accuracy is not None
    assert turned.both + turned.only_ours + turned.only_theirs + turned.neither == 300
    assert accuracy.value == pytest.approx((turned.only_ours - turned.only_theirs) / 300)
    assert accuracy.p_value == pytest.approx(mcnemar(turned))


def test_pairing_tells_apart_what_two_test_sets_would_not() -> None:
    """Answers that differ on a few examples: the interval of the difference is far narrower than those of the two."""
    scores, labels = draw_scores(300, 3, strength=1.0)
    theirs = scores.copy()
    theirs[:15] = theirs[:15][:, ::-1]
    target = ClassTarget(_NAMES)
    found = compare(target, scores, labels, Judged(target=target, predictions=theirs), alias="champion", version=1).of(
        "accuracy"
    )
    assert found is not None
    assert found.high - found.low < 0.05


def _alike(different: int, *, examples: int = 16) -> Comparison:
    """A model that is always right against one that is wrong on so many examples."""
    labels = np.arange(examples, dtype=np.int32) % 2
    scores = np.where(np.eye(2)[labels] > 0, 0.9, 0.1).astype(np.float32)
    theirs = scores.copy()
    theirs[:different] = theirs[:different, ::-1]
    target = ClassTarget(("a", "b"))
    judged = target.judging(ScoresSignature(labels=["a", "b"]), theirs)
    return compare(target, scores, labels, judged, alias="champion", version=1)


@pytest.mark.parametrize("metric", ["accuracy", "f1_macro"])
def test_sixteen_answers_alike_do_not_show_two_models_alike(metric: str) -> None:
    """With one example in six answered differently, 16 would show none one time in twenty."""
    found = _alike(0).of(metric)
    assert found is not None
    share = found.high
    assert (1 - share) ** 16 == pytest.approx(0.05)
    assert found.low == pytest.approx(-share)
    assert not found.value


@pytest.mark.parametrize("interval", ["ignore", "whole", "part"])
def test_a_gate_on_the_whole_interval_wants_evidence(interval: Literal["ignore", "whole", "part"]) -> None:
    """That 16 answers are alike passes where the figure is asked for, not where it is to be surely not worse."""
    gate = Gate(metric="accuracy", not_worse_than="champion", interval=interval)
    facts = GateFacts(metrics={"accuracy": 1.0}, compared={"champion": _alike(0)})
    (result,) = check_gates([gate], facts)
    assert result.passed is (interval != "whole")


def test_one_better_answer_does_not_show_a_model_no_worse() -> None:
    """No draw can be worse, though one example in six may be."""
    found = _alike(1).of("accuracy")
    assert found is not None
    assert found.low == pytest.approx(1 / 16 - (1 - 0.05 ** (1 / 16)))


def test_many_better_answers_show_it() -> None:
    """Half of the answers of 60 examples are better: the draws vary more than what remains unseen."""
    found = _alike(30, examples=60).of("accuracy")
    assert found is not None
    assert 0.3 < found.low < 0.42


def test_a_model_is_not_better_than_itself() -> None:
    """No difference, no gain, no significance; and the words say so."""
    found = _against(1.0)
    accuracy = found.of("accuracy")
    assert accuracy is not None
    assert (accuracy.value, accuracy.p_value) == (0.0, 1.0)
    assert "alike" in verdict(found, "accuracy", "Accuracy")
    assert "within what chance would do" in verdict(found, "accuracy", "Accuracy")


@pytest.mark.parametrize(
    ("metric", "ours", "theirs", "low", "high", "said"),
    [
        ("accuracy", 0.921, 0.9, 0.004, 0.038, "2.1 points better (95 % interval 0.4 to 3.8)"),
        ("accuracy", 0.89, 0.9, -0.02, 0.005, "1.0 point worse (95 % interval -2.0 to 0.5)"),
        ("loss", 0.3, 0.5, -0.3, -0.1, "0.2 better (95 % interval 0.1 to 0.3)"),
        ("mae", 12.0, 10.0, 1.0, 3.0, "2 worse (95 % interval -3 to -1)"),
    ],
)
def test_gains_in_plain_words(metric: str, ours: float, theirs: float, low: float, high: float, said: str) -> None:
    """Shares in points, other figures in their own unit; better is better, whichever way the figure points."""
    difference = Difference(metric=metric, ours=ours, theirs=theirs, low=low, high=high, p_value=0.01, test="bootstrap")
    assert gain_words(difference) == said


def test_another_order_of_the_labels_changes_nothing() -> None:
    """The other model's scores are taken by name."""
    scores, labels = draw_scores(200, 3)
    target = ClassTarget(_NAMES)
    turned = target.judging(ScoresSignature(labels=["c", "a", "b"]), scores[:, [2, 0, 1]])
    np.testing.assert_array_equal(turned.predictions, scores)
    assert turned.target.metrics(turned.predictions, labels).summary == target.metrics(scores, labels).summary
    assert turned.notes == ()


def test_classes_that_only_one_model_knows() -> None:
    """What it does not know it gets wrong, what it knows beyond is wrong; scores over other classes are left out."""
    _, labels = draw_scores(200, 3)
    target = ClassTarget(_NAMES)
    theirs = np.tile(np.array([[0.1, 0.2, 0.7]], np.float32), (200, 1))
    judged = target.judging(ScoresSignature(labels=["a", "b", "zebra"]), theirs)
    right = judged.target.right(judged.predictions, labels)
    assert right is not None
    assert not right.any()
    assert {"loss", "auc_macro"} <= judged.incomparable
    assert "does not know c" in judged.notes[0]
    assert "also knows zebra" in judged.notes[1]
    scores, _ = draw_scores(200, 3, strength=3)
    found = compare(target, scores, labels, judged, alias="champion", version=1)
    assert found.of("loss") is None
    assert found.of("f1_macro") is not None


def test_the_other_models_threshold_decides_its_answers() -> None:
    """Each model is judged by what its endpoint would answer."""
    scores = np.array([[0.7, 0.3], [0.9, 0.1]], np.float32)
    target = ClassTarget(("ham", "spam"), threshold=Threshold(maximize="f1"))
    output = ScoresSignature(labels=["spam", "ham"], threshold=BinaryThreshold(positive="spam", at=0.2))
    judged = target.judging(output, scores[:, ::-1].copy())
    right = judged.target.right(judged.predictions, np.array([1, 0], np.int32))
    assert right is not None
    assert right.all()


def test_labels_are_taken_by_name_with_their_thresholds() -> None:
    """Labels that the other model does not know it never gives; those only it knows do not count."""
    truths = np.array([[1, 0], [0, 1]], np.float32)
    target = LabelTarget(("x", "y"), truths)
    output = LabelsSignature(labels=["w", "x"], thresholds=[0.1, 0.8])
    judged = target.judging(output, np.array([[0.9, 0.85], [0.9, 0.7]], np.float32))
    right = judged.target.right(judged.predictions, truths)
    assert right is not None
    assert right.tolist() == [True, False]
    assert "map" in judged.incomparable


def test_numbers_are_taken_by_name() -> None:
    """The other model may give more of them, but not fewer."""
    truths = np.array([[1.0], [2.0]], np.float32)
    target = NumberTarget(("m",), truths)
    more = NumbersSignature(labels=["k", "m"], deviations=[1.0, 1.0])
    np.testing.assert_array_equal(target.judging(more, np.array([[9, 1], [9, 2]], np.float32)).predictions, truths)
    with pytest.raises(NotComparableError, match="does not predict m"):
        target.judging(NumbersSignature(labels=["k"], deviations=[1.0]), truths)


def test_models_of_other_classes_are_not_compared() -> None:
    """Without a class in common, every answer would be wrong."""
    with pytest.raises(NotComparableError, match="knows none of the classes"):
        ClassTarget(_NAMES).judging(ScoresSignature(labels=["x", "y"]), np.zeros((1, 2), np.float32))
