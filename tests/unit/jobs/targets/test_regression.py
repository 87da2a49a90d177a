"""Numbers: losses, figures and predictions as by hand, in the user's units."""

from __future__ import annotations

from typing import Literal

import keras
import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score

from graftwork_jobs.targets.regression import NumberTarget

NAMES = ("angle", "scale")
RANDOM = np.random.default_rng(0)
TRAINING = (RANDOM.normal(size=(200, 2)) * [30.0, 0.2] + [100.0, 1.5]).astype(np.float32)
TARGETS = TRAINING[:40]
OUTPUTS = RANDOM.normal(size=(40, 2)).astype(np.float32)


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_losses_are_of_standardised_errors(loss: Literal["mse", "mae", "huber"]) -> None:
    """As Keras computes them from numbers standardised with NumPy."""
    target = NumberTarget(NAMES, TRAINING, loss=loss)
    wanted = (TARGETS - TRAINING.mean(axis=0)) / TRAINING.std(axis=0)
    theirs = {
        "mse": keras.losses.mean_squared_error,
        "mae": keras.losses.mean_absolute_error,
        "huber": keras.losses.huber,
    }[loss]
    expected = np.asarray(theirs(wanted.astype(np.float32), OUTPUTS))
    np.testing.assert_allclose(np.asarray(target.losses(TARGETS, OUTPUTS)), expected, rtol=1e-4, atol=1e-6)


def test_figures_of_summed_tallies_are_those_of_all_examples() -> None:
    """R2 as scikit-learn computes it over all examples at once, the absolute error in the user's units."""
    target = NumberTarget(NAMES, TRAINING)
    tallies = [np.asarray(target.tally(TARGETS[part], OUTPUTS[part]), np.float64) for part in (slice(7), slice(7, 40))]
    figures = target.figures(np.sum([tally.sum(axis=0) for tally in tallies], axis=0), 40)
    predictions = np.asarray(target.predictions(OUTPUTS))
    assert figures["r2"] == pytest.approx(r2_score(TARGETS, predictions), rel=1e-3)
    assert figures["mae"] == pytest.approx(mean_absolute_error(TARGETS, predictions), rel=1e-4)


def test_the_finished_model_answers_in_the_users_units() -> None:
    """The layers of the bundle give what predictions give."""
    target = NumberTarget(NAMES, TRAINING)
    inputs = keras.Input((2,))
    model = keras.Model(inputs, target.finish(inputs))
    np.testing.assert_allclose(np.asarray(model(OUTPUTS)), np.asarray(target.predictions(OUTPUTS)), rtol=1e-5)
    assert model.layers[-1].name == "scores"
    assert np.asarray(target.predictions(np.zeros((1, 2), np.float32)))[0] == pytest.approx(TRAINING.mean(axis=0))


def test_numbers_without_spread_do_not_divide_by_zero() -> None:
    """A validation set of one example has no variance: R2 is 0 there, not a NaN that would end training."""
    target = NumberTarget(NAMES, TRAINING)
    tally = np.asarray(target.tally(TARGETS[:1], OUTPUTS[:1]), np.float64).sum(axis=0)
    assert target.figures(tally, 1)["r2"] == 0.0


def test_the_worst_answers_come_first() -> None:
    """By the largest error in standard deviations, told with names and values."""
    target = NumberTarget(NAMES, TRAINING)
    predictions = TARGETS.copy()
    predictions[5, 1] += 1.0
    predictions[9, 0] += 40.0
    worst = target.worst(predictions, TARGETS, limit=2)
    assert [wrong.row for wrong in worst] == [5, 9]
    assert worst[0].truth == f"angle {TARGETS[5, 0]:.4g}, scale {TARGETS[5, 1]:.4g}"


def test_golden_examples_come_from_the_whole_range() -> None:
    """Eight groups of equal size, by rank of the first number."""
    groups = NumberTarget(NAMES, TRAINING).spread(TARGETS)
    assert sorted(set(groups)) == [str(part) for part in range(8)]
    lowest = {TARGETS[row, 0] for row, group in enumerate(groups) if group == "0"}
    assert max(lowest) < min(TARGETS[row, 0] for row, group in enumerate(groups) if group == "1")
