from __future__ import annotations

import numpy as np
import pytest

from graftwork.bundle.drift import DIRECTIONS, drift, drift_reference, project

RANDOM = np.random.default_rng(11)
# Features as networks give them: none is negative, and they go together.
MIX = RANDOM.normal(size=(40, 300))


def features(count: int, *, shift: float = 0.0) -> np.ndarray:
    hidden = RANDOM.normal(size=(count, 40))
    hidden[:, :5] += shift
    return np.maximum(hidden @ MIX, 0).astype(np.float32)


def test_it_is_about_one_for_examples_of_the_same_kind() -> None:
    """Whatever the size of the window, on average over many."""
    for size in (50, 500):
        found = []
        for _ in range(40):
            reference = drift_reference(features(300))
            assert reference is not None
            found.append(drift(reference, project(features(size))))
        assert np.mean(found) == pytest.approx(1.0, abs=0.2)


def test_it_grows_with_the_difference_and_with_the_window() -> None:
    """A difference too small for few examples shows in many."""
    reference = drift_reference(features(400))
    assert reference is not None
    small, large = (drift(reference, project(features(500, shift=shift))) for shift in (0.5, 1.0))
    assert 2 < small < large
    assert drift(reference, project(features(60, shift=0.5))) < small


def test_it_is_what_the_formula_says() -> None:
    """Mean squared difference of means in standard errors, computed the long way."""
    test, window = features(100), features(70, shift=0.3)
    reference = drift_reference(test)
    assert reference is not None
    one, two = project(test), project(window)
    expected = 0.0
    for direction in range(DIRECTIONS):
        variance = np.var(one[:, direction], ddof=1) * (1 / 100 + 1 / 70)
        expected += (one[:, direction].mean() - two[:, direction].mean()) ** 2 / variance / DIRECTIONS
    assert drift(reference, two) == pytest.approx(expected)


def test_the_directions_are_the_same_for_ever() -> None:
    """A bundle is read by other processes and by later versions: the first numbers of a known generator."""
    first = project(np.eye(4, dtype=np.float32))[0, :2] * 2
    assert first == pytest.approx([1.764052345967664, 0.4001572083672233])


def test_too_few_examples_are_no_reference() -> None:
    """They say too little about their own spread."""
    assert drift_reference(features(49)) is None
