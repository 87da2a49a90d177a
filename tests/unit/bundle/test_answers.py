"""What a model gives is put into words by the kind of its output."""

from __future__ import annotations

import numpy as np

from graftwork.bundle.answers import answers_for
from graftwork.bundle.manifest import BinaryThreshold, LabelsSignature, NumbersSignature, ScoresSignature

VALUES = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)


def test_classes_are_ranked() -> None:
    """The likeliest first, ties in the order of the labels."""
    answers = answers_for(ScoresSignature(labels=["no", "yes"]))
    assert answers.row(VALUES[0], top=1) == {"label": "yes", "score": 0.75, "scores": {"yes": 0.75}}
    assert answers.data("label", VALUES) == ["yes", "no"]
    assert answers.tensors() == {"scores": ("FP32", [2]), "label": ("BYTES", [])}


def test_numbers_are_named_and_not_ranked() -> None:
    """All of them, in the order of the targets, however few labels the client wants."""
    answers = answers_for(NumbersSignature(labels=["angle", "scale"], deviations=[30.0, 0.2]))
    assert answers.row(np.array([123.456789, -0.5], np.float32), top=1) == {
        "values": {"angle": 123.4568, "scale": -0.5}
    }
    assert answers.tensors() == {"values": ("FP32", [2])}
    assert answers.data("values", VALUES) == [0.25, 0.75, 0.5, 0.5]


def test_labels_are_given_from_their_thresholds_on() -> None:
    """Any number of them, each with a threshold of its own; those given are shown whatever `top` says."""
    answers = answers_for(LabelsSignature(labels=["a", "b", "c"], thresholds=[0.2, 0.9, 0.5]))
    row = np.array([0.25, 0.75, 0.5], np.float32)
    assert answers.row(row, top=1) == {"labels": ["c", "a"], "scores": {"b": 0.75, "c": 0.5, "a": 0.25}}
    assert answers.row(np.zeros(3, np.float32), top=1) == {"labels": [], "scores": {"a": 0.0}}
    assert answers.tensors() == {"scores": ("FP32", [3]), "given": ("BOOL", [3])}
    assert answers.data("given", row[None]) == [True, False, True]
    assert answers.data("scores", row[None]) == [0.25, 0.75, 0.5]


def test_rows_of_a_table_say_what_requests_are_answered_with() -> None:
    """The answer first, then the score of each label where these are asked for."""
    classes = answers_for(ScoresSignature(labels=["no", "yes"], threshold=BinaryThreshold(positive="no", at=0.2)))
    assert classes.columns(with_scores=False) == {"predicted_label": "text", "predicted_score": "number"}
    assert classes.cells(VALUES[0], with_scores=True) == ["no", 0.25, 0.25, 0.75]
    labels = answers_for(LabelsSignature(labels=["a", "b"], thresholds=[0.2, 0.9]))
    assert labels.columns(with_scores=True) == {"predicted_labels": "labels", "score_a": "number", "score_b": "number"}
    assert labels.cells(VALUES[0], with_scores=True) == [["a"], 0.25, 0.75]
    numbers = answers_for(NumbersSignature(labels=["angle", "scale"], deviations=[30.0, 0.2]))
    assert numbers.columns(with_scores=True) == {"predicted_angle": "number", "predicted_scale": "number"}
    assert numbers.cells(np.array([123.456789, -0.5], np.float32), with_scores=True) == [123.4568, -0.5]
