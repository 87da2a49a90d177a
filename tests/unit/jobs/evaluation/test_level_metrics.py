"""Metrics of levels of an order."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, mean_absolute_error

from graftwork.spec.target_metrics import TEST_METRICS
from graftwork_jobs.evaluation.level_metrics import level_metrics
from graftwork_jobs.evaluation.level_reporting import LevelReporting

NAMES = ("poor", "fair", "good", "best")
RANDOM = np.random.default_rng(1)
LEVELS = RANDOM.integers(0, 4, 200).astype(np.int32)
SCORES = RANDOM.dirichlet(np.ones(4), 200).astype(np.float32)


def test_distances_and_kappa_are_those_of_scikit_learn() -> None:
    """Of the likeliest level."""
    summary, guess = level_metrics(SCORES, LEVELS, NAMES).summary, SCORES.argmax(axis=1)
    assert summary["mae"] == pytest.approx(mean_absolute_error(LEVELS, guess))
    assert summary["quadratic_kappa"] == pytest.approx(cohen_kappa_score(LEVELS, guess, weights="quadratic"))
    assert summary["within_one"] == pytest.approx(np.mean(np.abs(guess - LEVELS) <= 1))


def test_there_is_no_kappa_of_one_level() -> None:
    """It is left out, and a note says why."""
    scores = np.tile(np.array([0.7, 0.1, 0.1, 0.1], np.float32), (5, 1))
    metrics = level_metrics(scores, np.zeros(5, np.int32), NAMES)
    assert "quadratic_kappa" not in metrics.summary
    assert any("kappa" in note for note in metrics.notes)


def test_gates_and_reports_know_all_figures() -> None:
    """What a gate can look at is computed, and what is computed has a title."""
    summary = level_metrics(SCORES, LEVELS, NAMES).summary
    assert set(TEST_METRICS["levels"]) <= set(summary)
    assert set(LevelReporting().titles) == set(summary)
