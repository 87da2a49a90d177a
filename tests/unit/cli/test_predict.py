"""What `graft predict` prints of an answer; asking is tested with endpoints."""

from __future__ import annotations

from graftwork.cli.predict import _rows


def test_labels_that_are_given_are_told_from_others() -> None:
    """Each label has a threshold of its own, which the reader does not see."""
    answer = {"labels": ["warm"], "scores": {"warm": 0.3, "bright": 0.4}}
    assert _rows("a.png", answer) == [("a.png", "warm", "0.3000 given"), ("", "bright", "0.4000")]


def test_the_best_class_needs_no_word() -> None:
    """It stands first."""
    assert _rows("a.png", {"label": "cat", "scores": {"cat": 0.9, "dog": 0.1}})[0] == ("a.png", "cat", "0.9000")
