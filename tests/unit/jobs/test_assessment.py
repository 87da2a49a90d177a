from __future__ import annotations

from pathlib import Path

import numpy as np

from graftwork_jobs.assessment import assess
from graftwork_jobs.targets.classes import ClassTarget
from graftwork_jobs.train.request import TrainResult
from tests.unit.jobs.evaluation.builders import draw_scores

_LABELS = ("blue", "green", "red")


def result_with(folder: Path, **splits: int) -> TrainResult:
    """What training leaves: predictions of drawn scores, as many as said for each test set."""
    predictions = {}
    for seed, (name, examples) in enumerate(splits.items()):
        scores, labels = draw_scores(examples, len(_LABELS), seed=seed)
        predictions[name] = folder / f"{name}.npz"
        np.savez(predictions[name], predictions=scores, targets=labels, rows=np.arange(examples))
    return TrainResult(weights_file=folder / "w.h5", history=(), predictions=predictions, trained_phases=(), timings={})


def test_every_test_set_is_judged_by_its_own_predictions(tmp_path: Path) -> None:
    """Accuracy is the share of rows whose highest score is the label's, in each set."""
    result = result_with(tmp_path, test=200, elsewhere=90)
    assessment = assess(result, ClassTarget(_LABELS))
    assert list(assessment.tests) == ["test", "elsewhere"]
    for name, file in result.predictions.items():
        with np.load(file) as stored:
            accuracy = float((stored["predictions"].argmax(axis=1) == stored["targets"]).mean())
        assert np.isclose(assessment.summaries[name]["accuracy"], accuracy)
    assert assessment.test is assessment.tests["test"]
    assert assessment.predictions["elsewhere"].shape == (90, len(_LABELS))


def test_what_was_chosen_on_validation_data_judges_the_test_set(tmp_path: Path) -> None:
    """Calibrated scores are what every figure is of; the trained network's own figures are kept beside them."""
    result = result_with(tmp_path, validation=300, test=200)
    target = ClassTarget(_LABELS, calibrates=True)
    assessment = assess(result, target, {"camera": ["x"] * 150 + ["y"] * 50})
    with np.load(result.predictions["test"]) as stored:
        raw = stored["predictions"]
    assert list(assessment.tests) == ["test"]
    assert assessment.target.calibration is not None
    np.testing.assert_allclose(assessment.predictions["test"], assessment.target.adjusted(raw))
    before, after = assessment.uncalibrated["test"].summary, assessment.test.summary
    assert before["accuracy"] == after["accuracy"]
    assert before["loss"] > after["loss"]
    assert [(each.value, each.examples) for each in assessment.slices] == [("x", 150), ("y", 50)]
    assert set(assessment.intervals["test"]) == set(after)
