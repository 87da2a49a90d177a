"""Depthwise convolutions with large kernels, whose gradient TensorFlow computes slowly on CPU.

The gradient by a kernel sums products of the inputs with what comes back, shifted by each place of the kernel. That is
again a depthwise convolution: of the inputs, with what comes back as its kernel and every channel of every row a
channel of its own. For kernels from 5 x 5 on small maps TensorFlow's forward convolution computes it faster than its
gradient does (`tests/benchmarks/bench_depthwise.py`), and there it is a large part of a step: in the upper blocks of
EfficientNets, MobileNetV3 and ConvNeXt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from graftwork_jobs.distributed.collectives import Tensor

# Below this the usual gradient is faster.
_SMALLEST_KERNEL = 5
# Largest side of the output, for strides of one and for longer ones.
_LARGEST_MAP, _LARGEST_STRIDDEN_MAP = 28, 7


def speed_up_depthwise(model: keras.Model) -> None:
    """Give the layers of a model that profit from it the faster gradient; their outputs stay what they are.

    For TensorFlow on CPU; on others nothing changes.
    """
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow" or tf.config.list_logical_devices("GPU"):
        return
    for layer in model._flatten_layers(include_self=False, recursive=True):  # noqa: SLF001 (the layers of nested models too)
        if isinstance(layer, keras.layers.DepthwiseConv2D) and _may_profit(layer):
            layer.call = _Call(layer)


def _may_profit(layer: keras.layers.DepthwiseConv2D) -> bool:
    """Whether it does on small maps."""
    return bool(
        layer.compute_dtype == "float32"
        and layer.data_format == "channels_last"
        and layer.depth_multiplier == 1
        and max(layer.dilation_rate) == 1
        and min(layer.kernel_size) >= _SMALLEST_KERNEL
        and len(set(layer.strides)) == 1
    )


class _Call:
    """Stands in for a layer's `call` method."""

    def __init__(self, layer: keras.layers.DepthwiseConv2D) -> None:
        self._layer = layer
        self._usual = layer.call

    def __call__(self, inputs: Any) -> Any:
        """As the layer's own, with another gradient of the kernel where the output is small."""
        import tensorflow as tf

        layer = self._layer
        sides = layer.compute_output_shape(inputs.shape)[1:3]
        largest = _LARGEST_MAP if layer.strides[0] == 1 else _LARGEST_STRIDDEN_MAP
        if None in sides or max(sides) > largest:
            return self._usual(inputs)
        # Its value: a custom gradient takes no variables.
        kernel = tf.identity(ops.convert_to_tensor(layer.kernel))
        outputs = depthwise(inputs, kernel, layer.strides[0], layer.padding.upper())
        if layer.use_bias:
            outputs = ops.add(outputs, layer.bias)
        return outputs if layer.activation is None else layer.activation(outputs)


def depthwise(inputs: Tensor, kernel: Tensor, stride: int, padding: str) -> Tensor:
    """A depthwise convolution with the faster gradient of its kernel.

    Args:
        inputs: shape (rows, height, width, channels), height and width known.
        kernel: shape (height, width, channels, 1).
        stride: in both directions.
        padding: `SAME` or `VALID`.

    Returns:
        Shape (rows, height, width, channels).
    """
    import tensorflow as tf

    strides = [1, stride, stride, 1]

    def convolve(values: Tensor, weights: Tensor) -> tuple[Tensor, Callable[..., Any]]:
        def backward(upstream: Tensor) -> tuple[Tensor, Tensor]:
            return (
                tf.nn.depthwise_conv2d_backprop_input(tf.shape(values), weights, upstream, strides, padding),
                kernel_gradient(values, upstream, tuple(weights.shape[:2]), stride, padding),
            )

        return tf.nn.depthwise_conv2d(values, weights, strides, padding), backward

    return tf.custom_gradient(convolve)(inputs, kernel)


def kernel_gradient(inputs: Tensor, upstream: Tensor, kernel: tuple[int, int], stride: int, padding: str) -> Tensor:
    """Gradient by the kernel, as a depthwise convolution of the inputs with the gradient by the outputs.

    Args:
        inputs: shape (rows, height, width, channels).
        upstream: gradient by the outputs, shape (rows, height, width, channels).
        kernel: height and width.
        stride: in both directions.
        padding: `SAME` or `VALID`.

    Returns:
        Shape (height, width, channels, 1).
    """
    import tensorflow as tf

    (height, width), channels = upstream.shape[1:3], inputs.shape[3]
    rows = tf.shape(inputs)[0]
    # How far the kernel's places reach over the inputs, and what lies outside them.
    reach = [(height - 1) * stride + kernel[0], (width - 1) * stride + kernel[1]]
    before = [0, 0]
    if padding == "SAME":
        before = [max(size - side, 0) // 2 for size, side in zip(reach, inputs.shape[1:3], strict=True)]
    after = [max(size - side - first, 0) for size, side, first in zip(reach, inputs.shape[1:3], before, strict=True)]
    padded = tf.pad(inputs, [[0, 0], [before[0], after[0]], [before[1], after[1]], [0, 0]])
    padded = padded[:, : reach[0], : reach[1]]
    values = tf.reshape(tf.transpose(padded, [1, 2, 0, 3]), [1, *reach, rows * channels])
    weights = tf.transpose(upstream, [1, 2, 0, 3])
    if stride > 1:
        # The places in between see nothing of the outputs.
        spread = tf.reshape(weights, [height, 1, width, 1, rows, channels])
        spread = tf.pad(spread, [[0, 0], [0, stride - 1], [0, 0], [0, stride - 1], [0, 0], [0, 0]])
        weights = tf.reshape(spread, [height * stride, width * stride, rows, channels])
        weights = weights[: (height - 1) * stride + 1, : (width - 1) * stride + 1]
    shape = [reach[0] - kernel[0] + 1, reach[1] - kernel[1] + 1, rows * channels, 1]
    sums = tf.nn.depthwise_conv2d(values, tf.reshape(weights, shape), [1, 1, 1, 1], "VALID")
    by_row = tf.reshape(sums, [*kernel, rows, channels])
    return tf.expand_dims(tf.reduce_sum(by_row, axis=2), axis=-1)
