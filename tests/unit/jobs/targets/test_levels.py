"""Levels of an order: losses, figures and predictions as by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from graftwork.bundle.manifest import ScoresSignature
from graftwork_jobs.targets.levels import LevelTarget

NAMES = ("poor", "fair", "good", "best")
TARGET = LevelTarget(NAMES)
RANDOM = np.random.default_rng(0)
LEVELS = RANDOM.integers(0, 4, 30).astype(np.int32)
OUTPUTS = (3 * RANDOM.normal(size=(30, 3))).astype(np.float32)


def _by_hand() -> NDArray[np.float64]:
    """Going on with probability sigmoid(output) at each level until it stops."""
    scores = np.zeros((30, 4))
    for row, outputs in enumerate(OUTPUTS.astype(np.float64)):
        reached = 1.0
        for level, output in enumerate(outputs):
            go_on = 1.0 / (1.0 + np.exp(-output))
            scores[row, level] = reached * (1.0 - go_on)
            reached *= go_on
        scores[row, 3] = reached
    return scores


def test_predictions_are_probabilities_of_the_levels() -> None:
    """As by hand; they sum to 1."""
    predictions = np.asarray(TARGET.predictions(OUTPUTS))
    np.testing.assert_allclose(predictions, _by_hand(), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(predictions.sum(axis=1), 1.0, rtol=1e-5)


def test_going_further_never_becomes_likelier() -> None:
    """Whatever the outputs: P(level > k) falls with k."""
    beyond = 1.0 - np.cumsum(np.asarray(TARGET.predictions(10 * OUTPUTS), np.float64), axis=1)
    assert (np.diff(beyond, axis=1) <= 1e-6).all()


def test_losses_are_conditional_cross_entropies() -> None:
    """Over the levels that an example has reached, as in CORN."""
    wanted = np.zeros(30)
    for step in range(3):
        reached = step <= LEVELS
        loss = keras.losses.BinaryCrossentropy(from_logits=True, reduction="none")
        each = np.asarray(loss((step < LEVELS).astype(np.float32)[:, None], OUTPUTS[:, step : step + 1]))
        wanted += reached * each
    np.testing.assert_allclose(np.asarray(TARGET.losses(LEVELS, OUTPUTS)), wanted, rtol=1e-4, atol=1e-6)


def test_extreme_outputs_have_finite_losses() -> None:
    """No logarithm of zero where the model is very sure of the wrong level."""
    sure = np.full((1, 3), 200.0, np.float32)
    assert float(TARGET.losses(np.array([0], np.int32), sure)[0]) == pytest.approx(200.0)


def test_figures_of_summed_tallies_are_those_of_all_examples() -> None:
    """Accuracy and distance of the likeliest level."""
    tallies = [np.asarray(TARGET.tally(LEVELS[part], OUTPUTS[part]), np.float64) for part in (slice(7), slice(7, 30))]
    figures = TARGET.figures(np.sum([tally.sum(axis=0) for tally in tallies], axis=0), 30)
    guess = _by_hand().argmax(axis=1)
    assert figures == {
        "accuracy": pytest.approx((guess == LEVELS).mean()),
        "mae": pytest.approx(np.abs(guess - LEVELS).mean()),
    }


def test_mixed_examples_have_averages() -> None:
    """Loss and tallies of shares of two levels are the shares' averages."""
    share, other = RANDOM.random(30).astype(np.float32), (LEVELS + 1) % 4
    mixed = (share[:, None] * np.eye(4)[LEVELS] + (1 - share[:, None]) * np.eye(4)[other]).astype(np.float32)
    for one in (_losses, _tallies):
        wanted = share[:, None] * one(LEVELS) + (1 - share[:, None]) * one(other)
        np.testing.assert_allclose(one(mixed), wanted, rtol=1e-4, atol=1e-5)


def _losses(targets: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(TARGET.losses(targets, OUTPUTS))[:, None]


def _tallies(targets: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(TARGET.tally(targets, OUTPUTS))


def test_the_finished_model_gives_probabilities(tmp_path: Path) -> None:
    """Stock layers, which Keras loads in safe mode, give what predictions give."""
    inputs = keras.Input((3,))
    keras.Model(inputs, TARGET.finish(inputs)).save(tmp_path / "levels.keras")
    model = keras.models.load_model(tmp_path / "levels.keras", safe_mode=True)
    np.testing.assert_allclose(np.asarray(model(OUTPUTS)), _by_hand(), rtol=1e-4, atol=1e-7)
    assert TARGET.signature() == ScoresSignature(labels=list(NAMES))
