"""What is minimised and what is counted."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from graftwork_jobs.data.batch_plan import BatchPlan, epoch_rows
from graftwork_jobs.targets.classes import ClassTarget
from graftwork_jobs.train.objective import BatchLoss, Tally

NAMES = ("a", "b", "c")
RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 3, 10).astype(np.int32)
LOGITS = RANDOM.normal(size=(10, 3)).astype(np.float32)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_of_an_example_is_smoothed_cross_entropy(smoothing: float) -> None:
    """As by hand with NumPy."""
    wanted = np.eye(3)[LABELS] * (1 - smoothing) + smoothing / 3
    scores = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    wanted = -(wanted * np.log(scores)).sum(axis=1)
    losses = ClassTarget(NAMES, label_smoothing=smoothing).losses(tf.constant(LABELS), tf.constant(LOGITS))
    np.testing.assert_allclose(losses.numpy(), wanted, rtol=1e-5)


@pytest.mark.parametrize(("pieces", "world"), [(1, 1), (1, 3), (2, 1), (2, 3)])
def test_weighted_losses_average_to_the_mean_over_valid_rows(pieces: int, world: int) -> None:
    """Over workers and pieces, the batch losses of an update average to sum(class weight * loss) / rows."""
    class_weights = np.array([0.5, 1.0, 2.0], np.float32)
    target = ClassTarget(NAMES)
    losses = target.losses(tf.constant(LABELS), tf.constant(LOGITS)).numpy()
    wanted = float((class_weights[LABELS] * losses).mean())
    batch_loss = BatchLoss(target)
    shares = []
    for rank in range(world):
        # One batch of twelve holds all ten rows, so two are padding.
        plan = BatchPlan(batch_size=12, pieces=pieces, rank=rank, world=world)
        part = epoch_rows(len(LABELS), plan, seed=1, phase=0, epoch=0, row_weights=class_weights[LABELS])
        shares += [
            float(batch_loss(LABELS[rows], LOGITS[rows], sample_weight=weights))
            for rows, weights in zip(part.rows, part.weights, strict=True)
        ]
    assert np.mean(shares) == pytest.approx(wanted, rel=1e-5)


def test_tally_counts_valid_rows_without_their_weights() -> None:
    """Loss, correct answers and rows; padding is left out even where its loss is infinite."""
    target = ClassTarget(NAMES)
    tally = Tally(target)
    logits = LOGITS.copy()
    logits[9] = [np.inf, 0.0, 0.0]
    weights = np.array([2.0] * 9 + [0.0], np.float32)
    tally.update_state(tf.constant(LABELS), tf.constant(logits), tf.constant(weights))
    losses = target.losses(tf.constant(LABELS[:9]), tf.constant(logits[:9])).numpy()
    correct = (logits[:9].argmax(axis=1) == LABELS[:9]).sum()
    np.testing.assert_allclose(tally.sums.numpy(), [losses.sum(), correct, 9], rtol=1e-6)
    assert float(tally.result()) == pytest.approx(losses.mean(), rel=1e-6)


def test_batch_loss_takes_labels_as_keras_hands_them() -> None:
    """Keras converts labels to floats on the way to a loss."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Activation("linear")])
    model.compile(loss=BatchLoss(ClassTarget(NAMES)))
    wanted = ClassTarget(NAMES, label_smoothing=0.0).losses(tf.constant(LABELS), tf.constant(LOGITS)).numpy().mean()
    assert model.evaluate(LOGITS, LABELS, verbose=0) == pytest.approx(float(wanted), rel=1e-5)


def test_losses_and_answers_of_mixed_examples_are_averages() -> None:
    """By the shares of the two classes: cross-entropy and the share of right answers."""
    target, shares = ClassTarget(NAMES, label_smoothing=0.1), RANDOM.random(10).astype(np.float32)
    other = (LABELS + 1) % 3
    mixed = shares[:, None] * np.eye(3)[LABELS] + (1 - shares[:, None]) * np.eye(3)[other]
    for one in (target.losses, lambda *given: target.tally(*given)[:, 0]):
        wanted = shares * one(LABELS, LOGITS).numpy() + (1 - shares) * one(other, LOGITS).numpy()
        np.testing.assert_allclose(one(tf.constant(mixed), tf.constant(LOGITS)).numpy(), wanted, rtol=1e-5, atol=1e-6)
