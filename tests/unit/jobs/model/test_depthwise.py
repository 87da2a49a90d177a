"""Depthwise convolutions whose gradient is computed another way."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from graftwork_jobs.model import depthwise as depthwise_module
from graftwork_jobs.model.depthwise import depthwise, kernel_gradient, speed_up_depthwise

RANDOM = np.random.default_rng(3)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("side", "kernel", "stride"),
    [((3, 3), 5, 1), ((7, 9), 5, 1), ((6, 6), 5, 2), ((9, 7), 5, 2), ((12, 11), 7, 3), ((8, 8), 3, 1), ((5, 5), 1, 2)],
)
def test_outputs_and_gradients_are_tensorflows(side: tuple[int, int], kernel: int, stride: int, padding: str) -> None:
    """For odd and even sizes, where rows at the edge are left over, and kernels larger than the picture."""
    if padding == "VALID" and kernel > min(side):
        pytest.skip("no place for the kernel")
    inputs = tf.constant(RANDOM.normal(size=(4, *side, 6)).astype(np.float32))
    weights = tf.constant(RANDOM.normal(size=(kernel, kernel, 6, 1)).astype(np.float32))
    strides = [1, stride, stride, 1]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([inputs, weights])
        expected = tf.nn.depthwise_conv2d(inputs, weights, strides, padding)
        found = depthwise(inputs, weights, stride, padding)
        upstream = tf.constant(RANDOM.normal(size=expected.shape).astype(np.float32))
        expected_loss, found_loss = tf.reduce_sum(expected * upstream), tf.reduce_sum(found * upstream)
    np.testing.assert_array_equal(found, expected)
    found_gradients: Any = tape.gradient(found_loss, [inputs, weights])
    expected_gradients: Any = tape.gradient(expected_loss, [inputs, weights])
    for got, wanted in zip(found_gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def _network() -> keras.Model:
    keras.utils.set_random_seed(1)
    image = keras.Input((9, 9, 4))
    inner = keras.layers.DepthwiseConv2D(5, padding="same", activation="relu", name="large")(image)
    inner = keras.layers.DepthwiseConv2D(5, strides=2, use_bias=False, name="stridden")(inner)
    inner = keras.layers.DepthwiseConv2D(3, padding="same", name="small")(inner)
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(inner))


def _gradients(network: keras.Model, pictures: tf.Tensor) -> list[np.ndarray]:
    def step() -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(network(pictures, training=True)))
        return tape.gradient(loss, [variable.value for variable in network.trainable_variables])

    return [np.asarray(gradient) for gradient in tf.function(step)()]


def test_a_network_computes_the_same_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs and gradients, bias and activation included; layers with small kernels keep their own gradient."""
    used: list[tuple[int, int]] = []

    def noted(*arguments: Any) -> tf.Tensor:
        used.append(arguments[2])
        return kernel_gradient(*arguments)

    monkeypatch.setattr(depthwise_module, "kernel_gradient", noted)
    pictures = tf.constant(RANDOM.normal(size=(5, 9, 9, 4)).astype(np.float32))
    plain, changed = _network(), _network()
    before = changed.to_json()
    speed_up_depthwise(changed)
    np.testing.assert_allclose(changed(pictures), plain(pictures), rtol=1e-5, atol=1e-6)
    for got, wanted in zip(_gradients(changed, pictures), _gradients(plain, pictures), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    assert used == [(5, 5), (5, 5)]
    assert changed.to_json() == before
