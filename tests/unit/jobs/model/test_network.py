from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from graftwork.spec.fine_tune_job import Head
from graftwork_jobs.model.dropout import SlicedDropout
from graftwork_jobs.model.network import DropoutSlice, Network, build_network, inference_model
from graftwork_jobs.targets.classes import ClassTarget

from .conftest import Load

FINISH = ClassTarget(("a", "b", "c")).finish
_ROWS = 6


def _pixels(rows: int = _ROWS) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(1).uniform(0, 255, (rows, 16, 16, 3)).astype(np.float32)


def _softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: np.ndarray[Any, Any] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _network(load: Load, path: Path, head: Head, part: DropoutSlice | None, *, training: bool = False) -> Network:
    return build_network(
        load(None, path=str(path)), head, outputs=3, seed=11, batch_norm_training=training, dropout_slice=part
    )


@pytest.mark.parametrize("head", [Head(), Head(pooling="max"), Head(hidden=[5, 4], activation="gelu", dropout=0.5)])
def test_the_inference_model_gives_the_softmax_of_the_logits(load: Load, small_file: Path, head: Head) -> None:
    """Same pictures, same answers, from stock layers with the documented names."""
    network = _network(load, small_file, head, DropoutSlice(rows=_ROWS, offset=0), training=True)
    model = inference_model(network, FINISH)
    expected = _softmax(network.model(_pixels(), training=False).numpy())
    np.testing.assert_allclose(model(_pixels()), expected, atol=1e-6)
    assert (model.inputs[0].name, model.output_names) == ("image", ["scores"])
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)


def test_the_inference_model_does_not_share_weights(load: Load, small_file: Path) -> None:
    """Training on leaves a finished bundle's model alone."""
    network = _network(load, small_file, Head(), None)
    model = inference_model(network, FINISH)
    before = model(_pixels()).numpy()
    for weight in network.model.weights:
        weight.assign(weight * 0 + 0.5)
    np.testing.assert_array_equal(model(_pixels()), before)


def test_the_same_seed_gives_the_same_head(load: Load, small_file: Path) -> None:
    """In any process and whatever was built before; another seed gives another."""
    head = Head(hidden=[5])
    first, again = (_network(load, small_file, head, None) for _ in range(2))
    other = build_network(
        load(None, path=str(small_file)), head, outputs=3, seed=12, batch_norm_training=False, dropout_slice=None
    )
    for ours, theirs in zip(first.head.weights, again.head.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(first.head.weights[0], other.head.weights[0])


@pytest.mark.parametrize("world", [2, 3, 4])
def test_dropout_is_the_same_on_any_number_of_workers(load: Load, small_file: Path, world: int) -> None:
    """Workers' rows together are what one worker computes on the whole batch, also with padding rows at the end."""
    head = Head(hidden=[16], dropout=0.5)
    whole = _network(load, small_file, head, DropoutSlice(rows=_ROWS, offset=0))
    rows = -(-_ROWS // world)
    padded = np.concatenate([_pixels(), np.repeat(_pixels()[:1], rows * world - _ROWS, axis=0)])
    for _ in range(2):
        expected = whole.model(_pixels(), training=True).numpy()
        parts = []
        for rank in range(world):
            network = _network(load, small_file, head, DropoutSlice(rows=_ROWS, offset=rank * rows))
            for ours, theirs in zip(network.model.variables, whole.model.variables, strict=True):
                ours.assign(theirs)
            _rewind(network, whole)
            parts.append(network.model(padded[rank * rows : (rank + 1) * rows], training=True).numpy())
        np.testing.assert_allclose(np.concatenate(parts)[:_ROWS], expected, rtol=1e-5, atol=1e-5)


def _rewind(network: Network, whole: Network) -> None:
    """Set the seeds of a network to one draw before those of another."""
    for ours, theirs in zip(_seeds(network), _seeds(whole), strict=True):
        ours.assign(theirs - tf.constant([0, 1], theirs.dtype))


def _seeds(network: Network) -> list[Any]:
    layers = [layer for layer in network.head.layers if isinstance(layer, SlicedDropout)]
    assert layers
    return [layer.seed_generator.state for layer in layers]


def test_dropout_keeps_the_mean_and_differs_from_step_to_step() -> None:
    """About the stated share is dropped, the rest scaled up, anew at each call; inference leaves all as it is."""
    layer = SlicedDropout(0.25, seed=1, rows=64, offset=0)
    ones = tf.ones((64, 100))
    first, second = layer(ones, training=True).numpy(), layer(ones, training=True).numpy()
    assert set(np.unique(first)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((first == 0).mean() - 0.25) < 0.02
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(layer(ones, training=False), ones)


def test_dropout_inside_a_trained_backbone_is_sliced_too(load: Load, small_file: Path) -> None:
    """A backbone in training mode has no dropout left that depends on the worker."""
    network = _network(load, small_file, Head(), DropoutSlice(rows=_ROWS, offset=2), training=True)
    dropouts = {type(layer) for layer in network.backbone.layers if "drop" in layer.name}
    assert dropouts == {SlicedDropout}
    assert {type(layer) for layer in inference_model(network, FINISH).layers if "drop" in layer.name} == {
        keras.layers.Dropout
    }


def test_without_batch_norm_training_the_backbone_is_deterministic(load: Load, small_file: Path) -> None:
    """Its dropout stays off in training, while its weights still get gradients."""
    network = _network(load, small_file, Head(), DropoutSlice(rows=_ROWS, offset=0))
    # The last layer starts from zero, which would hide the backbone.
    network.head.layers[-1].kernel.assign(np.ones(network.head.layers[-1].kernel.shape))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network.model(_pixels(), training=True) ** 2)
    np.testing.assert_array_equal(network.model(_pixels(), training=True), network.model(_pixels(), training=False))
    gradients = tape.gradient(loss, network.backbone.trainable_weights)
    assert gradients
    assert all(gradient is not None and np.any(gradient) for gradient in gradients[-2:])


def test_mixed_precision_computes_in_bfloat16_and_answers_in_float32(load: Load, small_file: Path) -> None:
    """Variables and logits stay float32, hidden layers compute in bfloat16, the bundle's model in float32."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = _network(load, small_file, Head(hidden=[4]), DropoutSlice(rows=_ROWS, offset=0))
        logits = network.model(_pixels())
    finally:
        keras.config.set_dtype_policy("float32")
    assert logits.dtype == tf.float32
    assert network.backbone.get_layer("block1_conv").compute_dtype == "bfloat16"
    assert {weight.dtype for weight in network.model.weights} == {"float32"}
    model = inference_model(network, FINISH)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    np.testing.assert_allclose(model(_pixels()), _softmax(logits.numpy()), atol=0.02)
