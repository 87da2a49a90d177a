"""A step of a network with BatchNorm layers: stock Keras layers beside ours, which know padding and workers.

MobileNetV2 from random weights, forward and backward pass of one worker on one thread, both in turn; medians. Once the
layers normalise with the moments of the batch, once with their moving averages, as usual when a network is fine-tuned.

Run: python -m tests.benchmarks.bench_batch_norm [--rounds 7] [--size 96] [--rows 32]
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

from graftwork_jobs.distributed.batch_norm import synchronise, valid_rows
from graftwork_jobs.distributed.collectives import ALONE
from graftwork_jobs.model.fused_batch_norm import speed_up_batch_norm

SIDES = ("keras", "graft")


def compiled_step(size: int, *, ours: bool, training: bool) -> Callable[[tf.Tensor], tf.Tensor]:
    """From pictures to the sum of all gradients' magnitudes."""
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2(input_shape=(size, size, 3), include_top=False, weights=None, pooling="avg")
    if ours:
        synchronise(model, ALONE)
        speed_up_batch_norm(model)
    trained = [variable.value for variable in model.trainable_variables]

    def step(pictures: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape, valid_rows(tf.ones([tf.shape(pictures)[0]])):
            loss = tf.reduce_mean(tf.square(model(pictures, training=training)))
        gradients: Any = tape.gradient(loss, trained)
        return tf.add_n([tf.reduce_sum(tf.abs(gradient)) for gradient in gradients])

    compiled: Callable[[tf.Tensor], tf.Tensor] = tf.function(step, autograph=False)
    return compiled


def main() -> None:
    """Print both sides."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--rows", type=int, default=32)
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    pictures = tf.constant(np.random.default_rng(0).random((options.rows, options.size, options.size, 3), np.float32))
    for training in (True, False):
        sides = {name: compiled_step(options.size, ours=name == "graft", training=training) for name in SIDES}
        print("moments of the batch" if training else "moving averages")
        for name, step in sides.items():
            print(f"  {name}: all gradients together {float(step(pictures)):.6g}")
        seconds: dict[str, list[float]] = {name: [] for name in SIDES}
        for _ in range(options.rounds):
            for name, step in sides.items():
                began = time.perf_counter()
                step(pictures)
                seconds[name].append(time.perf_counter() - began)
        keras_s, graft_s = (statistics.median(seconds[name]) for name in SIDES)
        print(f"  a step: keras {keras_s:.3f} s, graft {graft_s:.3f} s: {keras_s / graft_s:.2f} times as fast")


if __name__ == "__main__":
    main()
