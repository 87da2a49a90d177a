"""Statistics of a random backbone, fitted to the data."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from graftwork_jobs.distributed.batch_norm import synchronise
from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.train import calibrate
from graftwork_jobs.train.calibrate import calibrate_batch_norm
from graftwork_jobs.train.objective import with_validity
from tests.unit.jobs.distributed.worlds import run_world

RANDOM = np.random.default_rng(4)
PICTURES = (40 + 25 * RANDOM.normal(size=(5, 6, 4, 4, 3))).astype(np.float32)
# The last batch is padded.
WEIGHTS = np.ones((5, 6), np.float32)
WEIGHTS[-1, 4:] = 0
PICTURES[-1, 4:] = 10_000


def _backbone() -> keras.Model:
    # A seed of the layer's own: threads share the global one.
    conv = keras.layers.Conv2D(5, 1, name="conv", kernel_initializer=keras.initializers.GlorotUniform(seed=2))
    layers = [keras.layers.BatchNormalization(name="first"), conv]
    return keras.Sequential(
        [keras.Input((4, 4, 3)), *layers, keras.layers.BatchNormalization(name="second", momentum=0.7)]
    )


def _batches(part: slice, batches: int = 5) -> tf.data.Dataset:
    columns = (PICTURES[:batches, part], np.zeros((batches, 6), np.int32)[:, part], WEIGHTS[:batches, part])
    return tf.data.Dataset.from_tensor_slices(columns).map(with_validity)


def _moments(values: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Means over batches of each batch's mean and variance by channel."""
    flat = [value.reshape(-1, value.shape[-1]).astype(np.float64) for value in values]
    return np.mean([rows.mean(0) for rows in flat], axis=0), np.mean([rows.var(0) for rows in flat], axis=0)


def _valid() -> list[np.ndarray]:
    return [batch[weights > 0] for batch, weights in zip(PICTURES, WEIGHTS, strict=True)]


def _calibrated(collectives: Collectives, part: slice) -> keras.Model:
    backbone = _backbone()
    synchronise(backbone, collectives)
    calibrate_batch_norm(backbone, _batches(part))
    return backbone


def _assert_statistics(backbone: keras.Model) -> None:
    mean, variance = _moments(_valid())
    first = backbone.get_layer("first")
    np.testing.assert_allclose(first.moving_mean.numpy(), mean, rtol=1e-4)
    np.testing.assert_allclose(first.moving_variance.numpy(), variance, rtol=1e-3)
    kernel = backbone.get_layer("conv").kernel.numpy()[0, 0]
    inner = []
    for batch in _valid():
        rows = batch.reshape(-1, 3).astype(np.float64)
        inner.append(((rows - rows.mean(0)) / np.sqrt(rows.var(0) + first.epsilon)) @ kernel)
    mean, variance = _moments(inner)
    second = backbone.get_layer("second")
    np.testing.assert_allclose(second.moving_mean.numpy(), mean, atol=1e-4)
    np.testing.assert_allclose(second.moving_variance.numpy(), variance, rtol=1e-3)


def test_statistics_are_the_means_of_the_batches_moments() -> None:
    """Of the real rows, for a layer on the pictures and for one on what another layer normalised."""
    _assert_statistics(_calibrated(Collectives(rank=0, world=1), slice(0, 6)))


def test_statistics_do_not_depend_on_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers that share each batch get what one gets with all of it."""
    # The threads that stand for workers meet in eager code only.
    monkeypatch.setattr(calibrate, "_as_graph", lambda run: run)
    first, second = run_world(2, lambda own: _calibrated(own, slice(3 * own.rank, 3 * own.rank + 3)))
    _assert_statistics(first)
    _assert_statistics(second)


def test_what_was_there_before_does_not_matter() -> None:
    """Old statistics are replaced, not mixed in."""
    backbone = _backbone()
    synchronise(backbone, Collectives(rank=0, world=1))
    backbone.get_layer("first").moving_mean.assign([1e4, -1e4, 0])
    calibrate_batch_norm(backbone, _batches(slice(0, 6)))
    np.testing.assert_allclose(backbone.get_layer("first").moving_mean.numpy(), _moments(_valid())[0], rtol=1e-3)


def test_only_statistics_change() -> None:
    """Momenta and weights are as they were."""
    before, after = _backbone(), _calibrated(Collectives(rank=0, world=1), slice(0, 6))
    assert [layer.momentum for layer in after.layers if layer.name != "conv"] == [0.99, 0.7]
    for old, new in zip(before.trainable_weights, after.trainable_weights, strict=True):
        np.testing.assert_array_equal(old.numpy(), new.numpy())
