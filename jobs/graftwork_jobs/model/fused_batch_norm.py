"""Batch normalisation in one operation on CPU, forwards and backwards.

Keras normalises with a multiplication and an addition. On the way back TensorFlow goes over the activations once more
for each of them and for each of their sums; the operation used here goes over them once.
`tests/benchmarks/bench_batch_norm.py` measures both.
"""

from __future__ import annotations

import keras
from keras import ops

from graftwork_jobs.distributed.collectives import Tensor

_PICTURE_RANK = 4


def speed_up_batch_norm(model: keras.Model) -> None:
    """Give the layers of a model that profit from it the faster operation; their outputs stay what they are.

    For TensorFlow on CPU; on others nothing changes.
    """
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow" or tf.config.list_logical_devices("GPU"):
        return
    for layer in model._flatten_layers(include_self=False, recursive=True):  # noqa: SLF001 (the layers of nested models too)
        if isinstance(layer, keras.layers.BatchNormalization) and not layer.renorm:
            layer.call = _Call(layer)


class _Call:
    """Stands in for a layer's `call` method."""

    def __init__(self, layer: keras.layers.BatchNormalization) -> None:
        self._layer = layer
        self._usual = layer.call

    def __call__(self, inputs: Tensor, training: bool | None = None, mask: Tensor = None) -> Tensor:  # noqa: FBT001 (Keras' own signature)
        """As the layer's own; on maps whose channels come last, in one operation."""
        layer = self._layer
        if mask is not None or len(inputs.shape) != _PICTURE_RANK or layer.axis not in {-1, _PICTURE_RANK - 1}:
            return self._usual(inputs, training=training, mask=mask)
        inputs = ops.cast(inputs, "float32")
        mean, variance = self._moments(inputs, training=training)
        scale = ops.rsqrt(variance + layer.epsilon)
        if layer.scale:
            scale *= layer.gamma
        shift = -mean * scale
        if layer.center:
            shift += layer.beta
        return ops.cast(scale_and_shift(inputs, scale, shift), layer.compute_dtype)

    def _moments(self, inputs: Tensor, *, training: bool | None) -> tuple[Tensor, Tensor]:
        """Mean and variance to normalise with, shape (channels,); in training the moving ones follow the batch's."""
        layer = self._layer
        moving = layer.moving_mean, layer.moving_variance
        if not (training and layer.trainable):
            return moving
        moments: tuple[Tensor, Tensor] = layer._moments(inputs, None)  # noqa: SLF001 (over all workers)
        for average, seen in zip(moving, moments, strict=True):
            average.assign(average * layer.momentum + seen * (1.0 - layer.momentum))
        return moments


def scale_and_shift(inputs: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Multiply and add by channel.

    Args:
        inputs: shape (rows, height, width, channels), float32.
        scale: shape (channels,), float32.
        shift: shape (channels,), float32.

    Returns:
        inputs * scale + shift.
    """
    import tensorflow as tf

    # With a mean of 0 and a variance of 1 it normalises by nothing.
    zeros, ones = tf.zeros_like(scale), tf.ones_like(scale)
    return tf.raw_ops.FusedBatchNormV3(
        x=inputs, scale=scale, offset=shift, mean=zeros, variance=ones, epsilon=0.0, is_training=False
    ).y
