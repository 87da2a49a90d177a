"""Figures and thresholds of multi-label classifiers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, log_loss

from graftwork.errors import PermanentError
from graftwork_jobs.evaluation.label_metrics import best_thresholds, label_metrics

RANDOM = np.random.default_rng(3)
TRUTHS = (RANDOM.random((60, 3)) < [0.5, 0.2, 0.05]).astype(np.float32)
PROBABILITIES = np.clip(0.3 * TRUTHS + RANDOM.random((60, 3)) * 0.6, 0, 1).astype(np.float32)
NAMES = ("a", "b", "c")
THRESHOLDS = np.array([0.4, 0.5, 0.6], np.float32)


def test_figures_are_those_of_scikit_learn() -> None:
    """At the thresholds of the labels."""
    summary = label_metrics(PROBABILITIES, TRUTHS, NAMES, THRESHOLDS).summary
    given = PROBABILITIES >= THRESHOLDS
    assert summary["f1_macro"] == pytest.approx(f1_score(TRUTHS, given, average="macro"))
    assert summary["f1_micro"] == pytest.approx(f1_score(TRUTHS, given, average="micro"))
    assert summary["map"] == pytest.approx(average_precision_score(TRUTHS, PROBABILITIES, average="macro"))
    assert summary["exact_match"] == pytest.approx((given == TRUTHS).all(axis=1).mean())
    losses = [log_loss(TRUTHS[:, place], PROBABILITIES[:, place].astype(np.float64)) for place in range(3)]
    assert summary["loss"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_a_label_without_examples_is_left_out_and_said() -> None:
    """Of the macro figures; its row says that nothing is known."""
    truths = TRUTHS.copy()
    truths[:, 1] = 0
    metrics = label_metrics(PROBABILITIES, truths, NAMES, THRESHOLDS)
    kept = [0, 2]
    given = PROBABILITIES >= THRESHOLDS
    wanted = f1_score(truths[:, kept], given[:, kept], average="macro")
    assert metrics.summary["f1_macro"] == pytest.approx(wanted)
    assert metrics.rows[1].f1 is None
    assert "leave out b" in metrics.notes[0]


def test_answers_that_are_no_numbers_end_the_run() -> None:
    """With what to do."""
    broken = PROBABILITIES.copy()
    broken[0, 0] = np.nan
    with pytest.raises(PermanentError, match="learningRate"):
        label_metrics(broken, TRUTHS, NAMES, THRESHOLDS)


def test_no_other_threshold_gives_a_higher_f1() -> None:
    """Tried one by one; a label nobody has keeps one half."""
    truths = TRUTHS.copy()
    truths[:, 2] = 0
    found = best_thresholds(PROBABILITIES, truths)
    for place in range(2):
        reached = f1_score(truths[:, place], PROBABILITIES[:, place] >= found[place])
        others = [f1_score(truths[:, place], PROBABILITIES[:, place] >= each) for each in np.linspace(0.01, 0.99, 300)]
        assert reached >= max(others) - 1e-9
        assert np.abs(PROBABILITIES[:, place] - found[place]).min() > 0
    assert found[2] == 0.5
