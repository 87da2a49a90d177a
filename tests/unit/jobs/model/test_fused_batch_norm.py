"""Batch normalisation in one operation, beside Keras' own."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from graftwork_jobs.model import fused_batch_norm as module
from graftwork_jobs.model.fused_batch_norm import scale_and_shift, speed_up_batch_norm

RANDOM = np.random.default_rng(5)
PICTURES = (3.0 + RANDOM.normal(size=(6, 5, 4, 3))).astype(np.float32)
FORMS: list[dict[str, Any]] = [{}, {"scale": False}, {"center": False}, {"axis": 3, "epsilon": 0.1, "momentum": 0.5}]


def _network(**form: Any) -> keras.Model:
    keras.utils.set_random_seed(1)
    image = keras.Input(PICTURES.shape[1:])
    inner = keras.layers.Conv2D(4, 3, name="below")(image)
    inner = keras.layers.BatchNormalization(name="bn", **form)(inner)
    network = keras.Model(image, keras.layers.Conv2D(2, 2, name="above")(keras.layers.ReLU(max_value=6)(inner)))
    for index, variable in enumerate(network.get_layer("bn").variables):
        variable.assign(np.linspace(0.5, 2.0, variable.shape[0]) + index)
    return network


def _step(network: keras.Model, *, training: bool) -> dict[str, np.ndarray]:
    """Outputs, all gradients and moving statistics of one step in a graph."""

    def step(pictures: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(pictures)
            outputs = network(pictures, training=training)
            loss = tf.reduce_mean(tf.square(outputs))
        return outputs, tape.gradient(loss, [pictures, *(each.value for each in network.trainable_variables)])

    outputs, gradients = tf.function(step)(tf.constant(PICTURES))
    names = ["pictures", *(each.path for each in network.trainable_variables)]
    moving = {each.path: each.numpy() for each in network.non_trainable_variables}
    return {"outputs": outputs, **dict(zip(names, map(np.asarray, gradients), strict=True)), **moving}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_step_is_kerass(
    monkeypatch: pytest.MonkeyPatch, form: dict[str, Any], *, training: bool, trainable: bool
) -> None:
    """Outputs, gradients of everything below and in the layer, moving statistics; whatever the layer has."""
    used: list[tf.Tensor] = []

    def noted(*arguments: tf.Tensor) -> tf.Tensor:
        used.append(arguments[0])
        return scale_and_shift(*arguments)

    monkeypatch.setattr(module, "scale_and_shift", noted)
    plain, fast = _network(**form), _network(**form)
    for network in (plain, fast):
        network.get_layer("bn").trainable = trainable
    before = fast.to_json()
    speed_up_batch_norm(fast)
    expected, found = _step(plain, training=training), _step(fast, training=training)
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
    assert used
    assert fast.to_json() == before


@pytest.mark.parametrize("shape", [(7,), (5, 7), (2, 3, 4, 7)])
def test_other_inputs_than_pictures_are_normalised_as_before(shape: tuple[int, ...]) -> None:
    """Vectors, sequences and volumes, and channels that stand elsewhere."""
    rows = RANDOM.normal(size=(6, *shape)).astype(np.float32)
    for axis in (1, -1):
        plain, fast = (
            keras.Sequential([keras.Input(shape), keras.layers.BatchNormalization(axis=axis)]) for _ in range(2)
        )
        speed_up_batch_norm(fast)
        np.testing.assert_array_equal(fast(rows, training=True), plain(rows, training=True))


def test_half_precision_is_computed_in_single_precision() -> None:
    """As Keras does; the outputs have the layer's type."""
    keras.utils.set_random_seed(1)
    layer = keras.layers.BatchNormalization(dtype="mixed_bfloat16")
    model = keras.Sequential([keras.Input(PICTURES.shape[1:]), layer])
    expected = model(PICTURES, training=True)
    speed_up_batch_norm(model)
    found = model(PICTURES, training=True)
    assert found.dtype == expected.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(found, tf.float32), tf.cast(expected, tf.float32), rtol=1e-2, atol=1e-2)
