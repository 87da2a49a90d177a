"""Batch normalisation over all workers' valid rows."""

from __future__ import annotations

from typing import cast

import keras
import numpy as np
import pytest
import tensorflow as tf

from graftwork_jobs.distributed.batch_norm import synchronise, valid_rows
from graftwork_jobs.distributed.collectives import Collectives
from tests.unit.jobs.distributed.worlds import run_world

ALONE = Collectives(rank=0, world=1)
ROWS = (5.0 + 3.0 * np.random.default_rng(1).normal(size=(6, 4, 4, 2))).astype(np.float32)
WANTED = np.random.default_rng(2).normal(size=ROWS.shape).astype(np.float32)


def _model() -> keras.Model:
    return keras.Sequential([keras.Input(ROWS.shape[1:]), keras.layers.BatchNormalization(momentum=0.5, name="bn")])


def _step(collectives: Collectives, rows: np.ndarray, valid: np.ndarray, wanted: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs, gradients by the input and by the layer's weights (mean over workers), and moving statistics."""
    model = _model()
    synchronise(model, collectives)
    inputs = tf.constant(rows)
    with tf.GradientTape() as tape, valid_rows(tf.constant(valid, tf.float32)):
        tape.watch(inputs)
        outputs = model(inputs, training=True)
        mask = tf.constant(valid, tf.float32)[:, None, None, None]
        # Scaled as the data pipeline scales: the mean over workers is the mean over all valid rows.
        loss = collectives.world * tf.reduce_sum(mask * tf.square(outputs - wanted)) / 6.0
    by_input, *by_weights = tape.gradient(loss, [inputs, *(weight.value for weight in model.trainable_variables)])
    dense = cast("list[tf.Tensor]", by_weights)  # sparse only where something was gathered
    return {
        "outputs": outputs.numpy(),
        "by_input": by_input.numpy() / collectives.world,
        "by_weights": np.stack([value.numpy() for value in collectives.mean_of_all(dense, name="gradients")]),
        "moving_mean": model.get_layer("bn").moving_mean.numpy(),
        "moving_variance": model.get_layer("bn").moving_variance.numpy(),
    }


def _plain() -> dict[str, np.ndarray]:
    """The same with Keras' own layer on all rows."""
    model = _model()
    inputs = tf.constant(ROWS)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = model(inputs, training=True)
        loss = tf.reduce_sum(tf.square(outputs - WANTED)) / 6.0
    by_input, *by_weights = tape.gradient(loss, [inputs, *(weight.value for weight in model.trainable_variables)])
    return {
        "outputs": outputs.numpy(),
        "by_input": by_input.numpy(),
        "by_weights": np.stack([value.numpy() for value in by_weights]),
        "moving_mean": model.get_layer("bn").moving_mean.numpy(),
        "moving_variance": model.get_layer("bn").moving_variance.numpy(),
    }


@pytest.mark.parametrize("world", [1, 2, 3])
def test_workers_normalise_as_keras_does_on_the_whole_batch(world: int) -> None:
    """Outputs, all gradients and moving statistics are those of the stock layer on one device."""

    def work(collectives: Collectives) -> dict[str, np.ndarray]:
        part = slice(collectives.rank * 6 // world, (collectives.rank + 1) * 6 // world)
        return _step(collectives, ROWS[part], np.ones(6 // world), WANTED[part])

    together = run_world(world, work)
    plain = _plain()
    for name in ("outputs", "by_input"):
        joined = np.concatenate([result[name] for result in together])
        np.testing.assert_allclose(joined, plain[name], rtol=1e-4, atol=1e-5, err_msg=name)
    for result in together:
        for name in ("by_weights", "moving_mean", "moving_variance"):
            np.testing.assert_allclose(result[name], plain[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(("shape", "axis"), [((6, 3, 4, 2), 1), ((6, 3, 4, 2), 2), ((6, 5), 1), ((6, 7, 3), -1)])
def test_channels_may_stand_anywhere(shape: tuple[int, ...], axis: int) -> None:
    """Outputs and gradients are the stock layer's for vectors, sequences and pictures with channels first, too."""
    random = np.random.default_rng(3)
    rows, wanted = (tf.constant(random.normal(size=shape), tf.float32) for _ in range(2))

    def step(*, shared: bool) -> tuple[np.ndarray, np.ndarray]:
        layer = keras.layers.BatchNormalization(axis=axis)
        model = keras.Sequential([keras.Input(shape[1:]), layer])
        if shared:
            synchronise(model, ALONE)
        with tf.GradientTape() as tape, valid_rows(tf.ones(shape[0])):
            tape.watch(rows)
            outputs = model(rows, training=True)
            loss = tf.reduce_sum(tf.square(outputs - wanted))
        return outputs.numpy(), tape.gradient(loss, rows).numpy()

    for one, other in zip(step(shared=True), step(shared=False), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_padding_rows_do_not_count() -> None:
    """Rows of weight 0 change neither statistics nor the outputs of the others, wherever they are."""

    def work(collectives: Collectives) -> dict[str, np.ndarray]:
        rows = np.concatenate([ROWS, np.full((2, 4, 4, 2), 1000.0, np.float32)])
        wanted = np.concatenate([WANTED, np.zeros((2, 4, 4, 2), np.float32)])
        part = slice(collectives.rank * 4, collectives.rank * 4 + 4)
        return _step(collectives, rows[part], np.array([1, 1, 1, 1, 1, 1, 0, 0])[part], wanted[part])

    first, second = run_world(2, work)
    plain = _plain()
    np.testing.assert_allclose(np.concatenate([first["outputs"], second["outputs"][:2]]), plain["outputs"], atol=1e-4)
    np.testing.assert_allclose(first["moving_variance"], plain["moving_variance"], rtol=1e-4)
    assert np.all(second["by_input"][2:] == 0)


def test_a_piece_of_padding_only_leaves_the_statistics() -> None:
    """The last batch's later pieces can be empty: nothing becomes NaN and moving statistics stay."""
    model = _model()
    synchronise(model, ALONE)
    layer = model.get_layer("bn")
    layer.moving_mean.assign([4.0, 6.0])
    layer.moving_variance.assign([2.0, 3.0])
    with valid_rows(tf.zeros(6)):
        outputs = model(ROWS, training=True)
    assert np.all(np.isfinite(outputs))
    np.testing.assert_allclose(layer.moving_mean.numpy(), [4.0, 6.0], rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance.numpy(), [2.0, 3.0], rtol=1e-6)


def test_inference_uses_the_moving_statistics() -> None:
    """Outside training nothing is exchanged and no row is asked about."""
    model = _model()
    plain = model(ROWS, training=False).numpy()
    synchronise(model, ALONE)
    np.testing.assert_array_equal(model(ROWS, training=False).numpy(), plain)
