"""Gradient of depthwise kernels: Graftwork's way beside TensorFlow's own operation, by size of map and kernel.

One thread, 16 rows a batch, the sizes that layers of EfficientNets, MobileNets and ConvNeXt have at 96 to 224 px. Sides
take turns; medians. The last column says which of them Graftwork uses.

Run: python -m tests.benchmarks.bench_depthwise [--rounds 9] [--rows 16]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from graftwork_jobs.model import depthwise

# Side of the input, channels, kernel, stride.
_SIZES = (
    (3, 1152, 5, 1),
    (6, 480, 5, 1),
    (6, 672, 5, 2),
    (7, 1152, 5, 1),
    (7, 768, 7, 1),
    (14, 480, 5, 1),
    (14, 384, 7, 1),
    (24, 144, 5, 2),
    (28, 240, 5, 1),
    (28, 192, 7, 1),
    (7, 960, 3, 1),
    (14, 576, 3, 1),
)


def _seconds(compute: Callable[[], Any]) -> float:
    began = time.perf_counter()
    compute()
    return time.perf_counter() - began


def _is_used(side: int, kernel: int, stride: int) -> bool:
    """Whether a layer of that size goes Graftwork's way, found out by running one."""
    used: list[int] = []
    image = keras.Input((side, side, 4))
    layer = keras.layers.DepthwiseConv2D(kernel, strides=stride, padding="same")
    network = keras.Model(image, layer(image))
    depthwise.speed_up_depthwise(network)
    usual = depthwise.depthwise

    def noted(inputs: Any, kernel: Any, stride: int, padding: str) -> Any:
        used.append(stride)
        return usual(inputs, kernel, stride, padding)

    try:
        depthwise.depthwise = noted
        network(tf.zeros((1, side, side, 4)))
    finally:
        depthwise.depthwise = usual
    return bool(used)


def main() -> None:
    """Measure all sizes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", type=int, default=16)
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    random = np.random.default_rng(0)
    print(f"{'map':>4} {'channels':>9} {'kernel':>7} {'stride':>7} {'TensorFlow ms':>14} {'Graftwork ms':>13}  ratio")
    for side, channels, kernel, stride in _SIZES:
        out = -(-side // stride)
        inputs = tf.constant(random.normal(size=(options.rows, side, side, channels)).astype(np.float32))
        upstream = tf.constant(random.normal(size=(options.rows, out, out, channels)).astype(np.float32))
        shape, strides = [kernel, kernel, channels, 1], [1, stride, stride, 1]

        def own(inputs: Any = inputs, upstream: Any = upstream, shape: Any = shape, strides: Any = strides) -> Any:
            return tf.nn.depthwise_conv2d_backprop_filter(inputs, shape, upstream, strides, "SAME")

        def ours(inputs: Any = inputs, upstream: Any = upstream, kernel: int = kernel, stride: int = stride) -> Any:
            return depthwise.kernel_gradient(inputs, upstream, (kernel, kernel), stride, "SAME")

        sides = [tf.function(own), tf.function(ours)]
        np.testing.assert_allclose(sides[0](), sides[1](), rtol=1e-3, atol=1e-3)
        times: list[list[float]] = [[], []]
        for _ in range(options.rounds):
            for seconds, compute in zip(times, sides, strict=True):
                seconds.append(_seconds(compute))
        theirs_ms, ours_ms = (1000 * statistics.median(seconds) for seconds in times)
        used = "used" if _is_used(side, kernel, stride) else ""
        print(
            f"{side:>4} {channels:>9} {kernel:>7} {stride:>7} {theirs_ms:>14.2f} {ours_ms:>13.2f} "
            f"{theirs_ms / ours_ms:>6.2f} {used}"
        )


if __name__ == "__main__":
    main()
