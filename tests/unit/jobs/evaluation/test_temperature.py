from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax

from graftwork_jobs.evaluation.temperature import (
    cooled_classes,
    cooled_labels,
    fit_class_temperature,
    fit_label_temperatures,
)

_EXAMPLES = 4000


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_of_the_data_is_found(temperature: float) -> None:
    """Labels drawn from the softmax of logits that the network then overstates by a factor."""
    random = np.random.default_rng(1)
    true_logits = random.normal(size=(_EXAMPLES, 5)) * 2
    labels = (softmax(true_logits, axis=1).cumsum(axis=1) < random.random((_EXAMPLES, 1))).sum(axis=1)
    said = softmax(true_logits * temperature, axis=1).astype(np.float32)
    found = fit_class_temperature(said, labels.astype(np.int32))
    assert found == pytest.approx(temperature, rel=0.1)
    np.testing.assert_allclose(cooled_classes(said, temperature), softmax(true_logits, axis=1), atol=1e-4)


def test_each_label_has_its_own_temperature() -> None:
    """Of labels that the network overstates and understates; a label that is hardly there goes with the others."""
    random = np.random.default_rng(2)
    true_logits = random.normal(size=(_EXAMPLES, 3)) * 2
    true_logits[:, 2] -= 9
    wanted = np.array([2.0, 0.5, 1.0])
    truths = (random.random(true_logits.shape) < expit(true_logits)).astype(np.float32)
    said = expit(true_logits * wanted).astype(np.float32)
    found = fit_label_temperatures(said, truths)
    assert found[:2] == pytest.approx(wanted[:2], rel=0.12)
    assert 0.4 < found[2] < 2.2
    np.testing.assert_allclose(cooled_labels(said, wanted), expit(true_logits), atol=1e-3)


def test_validation_data_without_a_mistake_do_not_call_for_certainty() -> None:
    """Twenty right answers are no proof that the next one is right."""
    scores = np.tile(np.array([[0.8, 0.2]], np.float32), (20, 1))
    cooled = cooled_classes(scores, fit_class_temperature(scores, np.zeros(20, np.int32)))
    assert 0.8 < cooled[0, 0] < 0.999


def test_scores_that_underflowed_stay_numbers() -> None:
    """A network that says 1 and 0 can still be cooled."""
    scores = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    cooled = cooled_classes(scores, 4.0)
    assert np.isfinite(cooled).all()
    assert cooled.argmax(axis=1).tolist() == [0, 1]
    assert np.isfinite(cooled_labels(scores, np.array([2.0, 2.0]))).all()
