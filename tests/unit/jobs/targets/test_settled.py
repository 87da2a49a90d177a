"""What targets choose on validation data, and that the finished network does as they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graftwork.bundle.answers import answers_for
from graftwork.spec.job_evaluation import Threshold
from graftwork_jobs.targets.base import Target
from graftwork_jobs.targets.classes import ClassTarget
from graftwork_jobs.targets.labels import LabelTarget
from graftwork_jobs.targets.levels import LevelTarget
from tests.unit.jobs.evaluation.builders import draw_scores


def _settled(kind: str) -> tuple[Target, Target]:
    """A target that calibrates, before and after it was settled on drawn data."""
    scores, labels = draw_scores(400, 2, strength=1.0)
    target: Target
    targets: Any
    if kind == "levels":
        target, targets = LevelTarget(("a", "b"), calibrates=True), labels
    elif kind == "classes":
        target, targets = ClassTarget(("a", "b"), calibrates=True, threshold=Threshold(min_recall=0.9)), labels
    else:
        targets = (np.eye(2, dtype=np.float32)[labels] + np.float32(0)).astype(np.float32)
        target = LabelTarget(("a", "b"), targets, calibrates=True)
    return target, target.settled(scores**3 / (scores**3).sum(axis=1, keepdims=True), targets)


@pytest.mark.parametrize("kind", ["classes", "levels", "labels"])
def test_the_finished_network_gives_adjusted_predictions(kind: str) -> None:
    """Calibration is part of the network, so every engine and protocol serves it."""
    import keras

    before, after = _settled(kind)
    assert before.calibration is None
    assert after.calibration is not None
    assert all(temperature != 1.0 for temperature in after.calibration.temperatures)
    outputs = np.random.default_rng(1).normal(size=(50, after.outputs)).astype(np.float32) * 3
    given = keras.Input((after.outputs,))
    network = keras.Model(given, after.finish(given))
    raw = keras.ops.convert_to_numpy(before.predictions(outputs))
    np.testing.assert_allclose(network(outputs).numpy(), after.adjusted(raw), atol=1e-5)
    assert not np.allclose(network(outputs).numpy(), raw, atol=1e-2)


def test_endpoints_answer_as_the_test_metrics_counted() -> None:
    """The threshold in the bundle gives the very answers that the test set was judged by."""
    _, target = _settled("classes")
    scores, labels = draw_scores(300, 2, strength=0.7, seed=9)
    answers = answers_for(target.signature())
    rows = [answers.row(row, top=1) for row in scores]
    right = np.mean([row["label"] == "ab"[label] for row, label in zip(rows, labels, strict=True)])
    assert right == pytest.approx(target.metrics(scores, labels).summary["accuracy"])
    assert [row["label"] for row in rows] == answers.data("label", scores)
    assert any(row["score"] < 0.5 for row in rows)


def test_what_was_chosen_is_told() -> None:
    """A sentence each for the temperature and the threshold."""
    _, target = _settled("classes")
    temperature, threshold = target.settled_words
    assert "400 validation examples" in temperature
    assert threshold.startswith("b is answered from a score of")
