from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from graftwork.errors import PermanentError
from graftwork_jobs.evaluation.decisions import Cut
from graftwork_jobs.evaluation.metrics import classification_metrics
from tests.unit.jobs.evaluation.builders import draw_scores

Drawn = tuple[NDArray[np.float32], NDArray[np.int32]]
_NAMES = tuple("abcdefg")


def _auc_by_pairs(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> float:
    """Share of (positive, negative) pairs in the right order, ties half: what the area under the ROC curve means."""
    difference = scores[positive][:, None].astype(np.float64) - scores[~positive][None, :]
    return float((np.sum(difference > 0) + 0.5 * np.sum(difference == 0)) / difference.size)


@pytest.fixture
def drawn() -> Drawn:
    return draw_scores(211, 7)


def test_accuracy_and_top5_equal_counting(drawn: Drawn) -> None:
    """Accuracy counts the best score, top-5 whether fewer than five classes score higher than the true one."""
    scores, labels = drawn
    summary = classification_metrics(scores, labels, _NAMES).summary
    better = (scores > scores[np.arange(len(labels)), labels][:, None]).sum(axis=1)
    assert summary["accuracy"] == pytest.approx((better == 0).mean())
    assert summary["top5_accuracy"] == pytest.approx((better < 5).mean())
    assert summary["accuracy"] < summary["top5_accuracy"] < 1


def test_loss_is_the_mean_negative_log_score(drawn: Drawn) -> None:
    """The loss equals its definition."""
    scores, labels = drawn
    expected = -np.mean(np.log(scores[np.arange(len(labels)), labels].astype(np.float64)))
    assert classification_metrics(scores, labels, _NAMES).summary["loss"] == pytest.approx(expected, abs=1e-6)


def test_confidence_under_a_cut_is_the_score_of_what_is_answered() -> None:
    """Calibration compares the answered class's score with how often it is right, even where the other's is higher."""
    positive = np.array([0.6, 0.6, 0.6, 0.6, 0.9, 0.1])
    scores, labels = (
        np.stack([1 - positive, positive], axis=1).astype(np.float32),
        np.array([0, 0, 1, 1, 1, 0], np.int32),
    )
    metrics = classification_metrics(scores, labels, ("no", "yes"), Cut(positive=1, at=0.7, negative=0))
    # Four examples are answered "no" at a score of 0.4, two of them rightly; two are right at 0.9.
    assert metrics.confidence == pytest.approx((4 * 0.4 + 2 * 0.9) / 6, abs=1e-6)
    assert metrics.summary["ece"] == pytest.approx((4 * abs(0.4 - 0.5) + 2 * abs(0.9 - 1.0)) / 6, abs=1e-6)


def test_per_class_figures_equal_counting(drawn: Drawn) -> None:
    """Precision, recall and F1 of each class equal those counted by hand, and the macro averages are their means."""
    scores, labels = drawn
    metrics = classification_metrics(scores, labels, _NAMES)
    predicted = scores.argmax(axis=1)
    for index, row in enumerate(metrics.per_class):
        hits = int(np.sum((labels == index) & (predicted == index)))
        precision, recall = hits / np.sum(predicted == index), hits / np.sum(labels == index)
        assert row.support == np.sum(labels == index)
        assert row.precision == pytest.approx(precision)
        assert row.recall == pytest.approx(recall)
        assert row.f1 == pytest.approx(2 * precision * recall / (precision + recall))
    for name in ("precision", "recall", "f1"):
        mean = np.mean([getattr(row, name) for row in metrics.per_class])
        assert metrics.summary[f"{name}_macro"] == pytest.approx(mean)


def test_auc_equals_the_share_of_ordered_pairs(drawn: Drawn) -> None:
    """AUC of each class against the rest equals its meaning as a share of pairs."""
    scores, labels = drawn
    metrics = classification_metrics(scores, labels, _NAMES)
    expected = [_auc_by_pairs(scores[:, index], labels == index) for index in range(7)]
    assert [row.auc for row in metrics.per_class] == pytest.approx(expected, abs=1e-9)
    assert metrics.summary["auc_macro"] == pytest.approx(np.mean(expected))


def test_confusion_counts_every_example_once(drawn: Drawn) -> None:
    """Row sums are the classes' sizes, the diagonal the right predictions, entries those counted by hand."""
    scores, labels = drawn
    confusion = classification_metrics(scores, labels, _NAMES).confusion
    expected = np.zeros((7, 7), int)
    np.add.at(expected, (labels, scores.argmax(axis=1)), 1)
    assert np.array_equal(confusion, expected)


def test_absent_class_is_left_out_and_said() -> None:
    """Macro averages go over the classes present; the absent one has no recall and is named in a note."""
    scores, labels = draw_scores(150, 6, strength=1.5)
    keep = labels != 4
    full = classification_metrics(scores[keep], labels[keep], tuple("abcdef"))
    assert full.per_class[4].recall is None
    assert full.per_class[4].auc is None
    assert full.per_class[4].precision == 0.0  # it was predicted, always wrongly
    assert full.summary["recall_macro"] == pytest.approx(
        np.mean([row.recall for row in full.per_class if row.recall is not None])
    )
    assert any("1 of 6 classes" in note and "(e)" in note for note in full.notes)


def test_undefined_figures_are_left_out_not_nan() -> None:
    """With one class in the test set there is no AUC, with few classes no top-5; the notes say so."""
    scores = np.array([[0.9, 0.1], [0.4, 0.6]], np.float32)
    metrics = classification_metrics(scores, np.zeros(2, np.int32), ("a", "b"))
    assert set(metrics.summary) == {"accuracy", "precision_macro", "recall_macro", "f1_macro", "loss", "ece"}
    assert any("AUC" in note for note in metrics.notes)
    assert any("Top-5" in note for note in metrics.notes)


def test_certain_and_wrong_has_a_finite_loss() -> None:
    """A score of exactly 0 for the true class gives a large loss, not an infinite one."""
    scores = np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)
    loss = classification_metrics(scores, np.array([0, 1], np.int32), ("a", "b")).summary["loss"]
    assert 10 < loss < 40


def test_nan_scores_name_cause_and_remedy() -> None:
    """Scores that are not numbers stop with how many there are and what to change."""
    scores, labels = draw_scores(20, 3)
    scores[[2, 5]] = np.nan
    with pytest.raises(PermanentError, match=r"2 of 20 .*learningRate"):
        classification_metrics(scores, labels, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("scores", "labels", "names", "message"),
    [
        (np.ones((2, 2)) / 2, np.zeros(3), "ab", r"\(2, 2\) and labels \(3,\)"),
        (np.ones(4), np.zeros(4), "ab", r"scores \(4,\)"),
        (np.ones((2, 2)) / 2, np.zeros(2), "abc", "2 scores a row and 3 names"),
        (np.ones((2, 1)), np.zeros(2), "a", "at least 2"),
        (np.ones((0, 2)), np.zeros(0), "ab", "no examples"),
        (np.ones((2, 2)) / 2, np.array([0, 2]), "ab", r"labels 0\.\.2"),
        (np.array([[3.0, -2.0]]), np.zeros(1), "ab", "softmax"),
        (np.array([[0.9, 0.9]]), np.zeros(1), "ab", "softmax"),
    ],
)
def test_what_does_not_fit_is_refused(scores: NDArray[Any], labels: NDArray[Any], names: str, message: str) -> None:
    """Shapes, labels and rows that cannot be right are refused with what was received."""
    with pytest.raises(ValueError, match=message):
        classification_metrics(scores.astype(np.float32), labels.astype(np.int32), tuple(names))


def test_as_dict_is_plain_json(drawn: Drawn) -> None:
    """The figures survive a way through JSON that allows no NaN."""
    metrics = classification_metrics(*drawn, _NAMES)
    restored = json.loads(json.dumps(metrics.as_dict(), allow_nan=False))
    assert restored["summary"] == metrics.summary
    assert restored["confusion"] == metrics.confusion.tolist()
    assert [row["label"] for row in restored["perClass"]] == list(_NAMES)
