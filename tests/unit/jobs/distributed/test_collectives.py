"""Sums over workers."""

from __future__ import annotations

from typing import cast

import keras
import ml_dtypes
import numpy as np
import tensorflow as tf

from graftwork_jobs.distributed.collectives import Collectives, _instance_key
from tests.unit.jobs.distributed.worlds import run_world

ALONE = Collectives(rank=0, world=1)


def test_one_worker_gets_its_own_values_back() -> None:
    """A world of one exchanges nothing."""
    values = tf.constant([1.0, 2.0])
    assert ALONE.sum(values, name="x") is values
    assert ALONE.mean_of_all([values], name="x")[0] is values


def test_gradient_of_a_sum_reaches_every_share() -> None:
    """With a loss on each worker, a share's gradient is the sum of all workers' gradients by the total."""

    def work(collectives: Collectives) -> tuple[float, float]:
        share = tf.constant(float(collectives.rank + 1))
        with tf.GradientTape() as tape:
            tape.watch(share)
            loss = (collectives.rank + 1.0) * tf.square(collectives.sum(share, name="x"))
        # Sparse only where something was gathered.
        return float(loss), float(cast("tf.Tensor", tape.gradient(loss, share)))

    # Total 3; losses 9 and 18; each share's gradient is 2 * 3 * (1 + 2).
    assert run_world(2, work) == [(9.0, 18.0), (18.0, 18.0)]


def test_mean_keeps_shapes_and_types() -> None:
    """A list of gradients of several shapes and types comes back averaged, in place."""

    def work(collectives: Collectives) -> list[tf.Tensor]:
        values = [tf.fill([2, 3], float(collectives.rank)), tf.constant(2.0 * collectives.rank, tf.bfloat16)]
        return collectives.mean_of_all(values, name="x")

    for matrix, scalar in run_world(2, work):
        np.testing.assert_array_equal(matrix.numpy(), np.full((2, 3), 0.5, np.float32))
        assert scalar.dtype == tf.bfloat16
        assert float(scalar) == 1.0


def test_broadcast_gives_everyone_rank_zeros_values() -> None:
    """Every bit of them: floats with -0 and the smallest there are, short ones, integers, flags, unsigned seeds."""
    values = [
        np.array([1.5, -0.0, 1e-45, np.nan], np.float32),
        np.array([-2.5, 3.0, -0.0], ml_dtypes.bfloat16),
        np.array(True),
        np.array([2**32 - 1, 7], np.uint32),
        np.array(11, np.int64),
    ]

    def work(collectives: Collectives) -> list[bytes]:
        given = values if collectives.rank == 0 else [np.ones_like(each) for each in values]
        variables = [keras.Variable(each, dtype=each.dtype.name, trainable=False) for each in given]
        collectives.broadcast(variables)
        return [np.asarray(variable.value).tobytes() for variable in variables]

    for received in run_world(3, work):
        assert received == [each.tobytes() for each in values]


def test_keys_depend_on_the_name_alone() -> None:
    """Every worker derives the same key, within the range TensorFlow takes."""
    assert _instance_key("gradients") == _instance_key("gradients")
    assert _instance_key("a") != _instance_key("b")
    assert 0 <= _instance_key("gradients") < 2**31
