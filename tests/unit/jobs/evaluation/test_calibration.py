from __future__ import annotations

import numpy as np
import pytest

from graftwork_jobs.evaluation.calibration import calibration_bins, expected_calibration_error


def test_error_equals_a_loop_over_the_definition() -> None:
    """The error equals the sum over (low, high] bins of share times |accuracy - confidence|."""
    random = np.random.default_rng(3)
    confidence, correct = random.uniform(0, 1, 400), random.uniform(0, 1, 400) < 0.6
    expected = 0.0
    for index in range(15):
        inside = [place for place in range(400) if index / 15 < confidence[place] <= (index + 1) / 15]
        if inside:
            gap = np.mean([correct[place] for place in inside]) - np.mean([confidence[place] for place in inside])
            expected += len(inside) / 400 * abs(gap)
    assert expected_calibration_error(calibration_bins(confidence, correct)) == pytest.approx(expected)


def test_every_example_falls_into_one_bin() -> None:
    """Ends of bins, 0 and 1 included, are counted once."""
    confidence = np.concatenate([np.linspace(0, 1, 16), np.linspace(0, 1, 101)])
    bins = calibration_bins(confidence, np.ones(len(confidence), bool))
    assert sum(row.examples for row in bins) == len(confidence)
    assert bins[-1].high == 1.0


def test_certain_and_always_right_has_no_error() -> None:
    """Confidence 1 and always right is perfectly calibrated; empty bins have no figures."""
    bins = calibration_bins(np.ones(10), np.ones(10, bool))
    assert expected_calibration_error(bins) == 0.0
    assert bins[0].confidence is None


def test_certain_and_always_wrong_has_error_one() -> None:
    """Confidence 1 and always wrong is as bad as it gets."""
    assert expected_calibration_error(calibration_bins(np.ones(10), np.zeros(10, bool))) == 1.0
