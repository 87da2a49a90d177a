from __future__ import annotations

import numpy as np

from graftwork_jobs.evaluation.mistakes import confused_pairs, confusion_view, most_confident_mistakes
from tests.unit.jobs.evaluation.builders import draw_scores


def test_mistakes_are_wrong_and_sorted_by_confidence() -> None:
    """Only wrong predictions, and none left out is more confident than one shown."""
    scores, labels = draw_scores(300, 5, strength=1.0)
    found = most_confident_mistakes(scores, labels, limit=10)
    wrong = np.flatnonzero(scores.argmax(axis=1) != labels)
    expected = np.sort(scores[wrong].max(axis=1))[::-1][:10]
    assert np.allclose([mistake.score for mistake in found], expected)
    assert all(mistake.label != mistake.predicted for mistake in found)
    assert all(mistake.true_score == scores[mistake.row, labels[mistake.row]] for mistake in found)


def test_a_perfect_model_has_no_mistakes() -> None:
    """Nothing wrong, nothing shown."""
    assert most_confident_mistakes(np.eye(3, dtype=np.float32), np.arange(3, dtype=np.int32)) == ()


def test_pairs_are_the_largest_entries_off_the_diagonal() -> None:
    """Pairs come by frequency with their share of the true class; zeros are no mistakes."""
    confusion = np.array([[8, 2, 0], [0, 5, 0], [5, 1, 4]])
    pairs = confused_pairs(confusion, ("a", "b", "c"))
    assert [(pair.label, pair.predicted, pair.examples, pair.share) for pair in pairs] == [
        ("c", "a", 5, 0.5),
        ("a", "b", 2, 0.2),
        ("c", "b", 1, 0.1),
    ]


def test_small_matrices_are_shown_whole() -> None:
    """Nothing is gathered when all classes fit."""
    view = confusion_view(np.eye(3, dtype=np.int64), ("a", "b", "c"), limit=3)
    assert view.labels == ("a", "b", "c")
    assert view.left_out == 0


def test_large_matrices_keep_the_most_confused_and_every_example() -> None:
    """The most confused classes stay apart, the rest is added up, no example is lost."""
    confusion = np.diag(np.full(50, 10))
    confusion[7, 31] = 6
    confusion[20, 7] = 4
    view = confusion_view(confusion, tuple(f"class{index}" for index in range(50)), limit=3)
    assert view.labels == ("class7", "class20", "class31", "47 others")
    assert view.matrix.sum() == confusion.sum()
    assert view.matrix[0, 2] == 6
    assert view.matrix[3, 3] == 470
