"""Labels: losses, figures and predictions as by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from sklearn.metrics import f1_score

from graftwork.bundle.manifest import LabelsSignature
from graftwork_jobs.targets.labels import LabelTarget

NAMES = ("a", "b", "c")
RANDOM = np.random.default_rng(0)
TARGETS = (RANDOM.random((40, 3)) < 0.4).astype(np.float32)
OUTPUTS = RANDOM.normal(size=(40, 3)).astype(np.float32)
SCORES = 1.0 / (1.0 + np.exp(-OUTPUTS))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_losses_are_binary_cross_entropy(smoothing: float) -> None:
    """As Keras computes it."""
    target = LabelTarget(NAMES, TARGETS, label_smoothing=smoothing)
    wanted = keras.losses.binary_crossentropy(TARGETS, OUTPUTS, from_logits=True, label_smoothing=smoothing)
    np.testing.assert_allclose(np.asarray(target.losses(TARGETS, OUTPUTS)), np.asarray(wanted), rtol=1e-5)


def test_focal_losses_are_those_of_keras() -> None:
    """With the same gamma and without class balancing."""
    target = LabelTarget(NAMES, TARGETS, focal_gamma=2.0)
    wanted = keras.losses.binary_focal_crossentropy(TARGETS, OUTPUTS, gamma=2.0, from_logits=True)
    np.testing.assert_allclose(np.asarray(target.losses(TARGETS, OUTPUTS)), np.asarray(wanted), rtol=1e-4, atol=1e-6)


def test_balanced_labels_weigh_yes_and_no_alike() -> None:
    """Over the training data the weights of yes and of no add up to the same, and to as many as there are examples."""
    target = LabelTarget(NAMES, TARGETS, balanced=True)
    unsure = np.zeros_like(OUTPUTS)
    each = np.asarray(target.losses(TARGETS, unsure)) / np.log(2.0)
    assert each.sum() == pytest.approx(len(TARGETS), rel=1e-5)
    yes = np.where(TARGETS > 0, TARGETS / TARGETS.mean(axis=0) / 2, 0.0)
    assert yes.sum(axis=0) == pytest.approx(len(TARGETS) / 2)


def test_figures_of_summed_tallies_are_those_of_all_examples() -> None:
    """F1 as scikit-learn computes it over all examples at once."""
    target = LabelTarget(NAMES, TARGETS)
    tallies = [np.asarray(target.tally(TARGETS[part], OUTPUTS[part]), np.float64) for part in (slice(7), slice(7, 40))]
    figures = target.figures(np.sum([tally.sum(axis=0) for tally in tallies], axis=0), 40)
    assert figures["f1_macro"] == pytest.approx(f1_score(TARGETS, OUTPUTS >= 0, average="macro"))
    assert figures["f1_micro"] == pytest.approx(f1_score(TARGETS, OUTPUTS >= 0, average="micro"))


def test_the_finished_model_gives_probabilities() -> None:
    """The layer of the bundle gives what predictions give."""
    target = LabelTarget(NAMES, TARGETS)
    inputs = keras.Input((3,))
    model = keras.Model(inputs, target.finish(inputs))
    np.testing.assert_allclose(np.asarray(model(OUTPUTS)), SCORES, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(target.predictions(OUTPUTS)), SCORES, rtol=1e-5)
    assert model.layers[-1].name == "scores"


def test_thresholds_are_settled_on_validation_data_and_kept() -> None:
    """The target itself stays as it was; the other one has them in its signature and its words."""
    target = LabelTarget(NAMES, TARGETS)
    settled = target.settled(SCORES.astype(np.float32), TARGETS)
    assert (target.thresholds == 0.5).all()
    signature = settled.signature()
    assert isinstance(signature, LabelsSignature)
    assert signature.thresholds == pytest.approx(settled.thresholds.tolist())
    before = target.metrics(SCORES.astype(np.float32), TARGETS).summary["f1_macro"]
    assert settled.metrics(SCORES.astype(np.float32), TARGETS).summary["f1_macro"] >= before


def test_the_gravest_mistakes_come_first() -> None:
    """An example with a surely wrong label; right answers are no mistakes."""
    target = LabelTarget(NAMES, TARGETS)
    truths = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32)
    said = np.array([[0.9, 0.1, 0.1], [0.1, 0.3, 0.1], [0.95, 0.1, 0.1]], np.float32)
    found = target.worst(said, truths, limit=5)
    assert [(each.row, each.truth, each.said) for each in found] == [(2, "no label", "a"), (1, "b", "no label")]
