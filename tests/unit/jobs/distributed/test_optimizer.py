"""Optimizers that average gradients over workers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.distributed.optimizer import BadUpdate, averaging, bad_update
from tests.unit.jobs.distributed.worlds import run_world

ALONE = Collectives(rank=0, world=1)
START = np.array([1.0, -2.0, 3.0], np.float32)
# Gradients of four rows, three updates' worth each.
ROWS = np.random.default_rng(0).normal(size=(3, 4, 3)).astype(np.float32)


def _updates(collectives: Collectives, optimizer_class: type, **options: float) -> np.ndarray:
    """Where a variable ends after each worker applied the mean of its rows' gradients."""
    variable = keras.Variable(START)
    made: Any = averaging(optimizer_class, collectives)
    optimizer = made(learning_rate=0.1, **options)
    optimizer.build([variable])
    share = np.array_split(np.arange(4), collectives.world)[collectives.rank]
    for rows in ROWS:
        optimizer.apply([tf.constant(rows[share].mean(axis=0))])
    return np.asarray(variable.value)


@pytest.mark.parametrize("optimizer_class", [keras.optimizers.SGD, keras.optimizers.Adam, keras.optimizers.AdamW])
@pytest.mark.parametrize("world", [2, 4])
def test_workers_update_by_the_mean_gradient(optimizer_class: type, world: int) -> None:
    """Every worker ends where one worker with all rows ends."""
    alone = _updates(ALONE, optimizer_class)
    for together in run_world(world, lambda collectives: _updates(collectives, optimizer_class)):
        np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_clipping_sees_the_mean_gradient() -> None:
    """The norm that is clipped is the whole batch's, not a worker's."""
    alone = _updates(ALONE, keras.optimizers.SGD, global_clipnorm=0.3)
    assert not np.allclose(alone, _updates(ALONE, keras.optimizers.SGD))
    for together in run_world(2, lambda collectives: _updates(collectives, keras.optimizers.SGD, global_clipnorm=0.3)):
        np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_accumulation_exchanges_once_an_update() -> None:
    """Three pieces make one exchange and one update by their mean."""

    def work(collectives: Collectives) -> tuple[np.ndarray, int]:
        end = _updates(collectives, keras.optimizers.SGD, gradient_accumulation_steps=3)
        return end, len(collectives.table.names)  # type: ignore[attr-defined]  # the test's own kind

    for end, exchanges in run_world(2, work):
        np.testing.assert_allclose(end, START - 0.1 * ROWS.mean(axis=(0, 1)), rtol=1e-5)
        assert exchanges == 1


def test_one_worker_alone_is_the_plain_optimizer() -> None:
    """A world of one changes nothing."""
    variable = keras.Variable(START)
    plain = keras.optimizers.Adam(learning_rate=0.1)
    for rows in ROWS:
        plain.apply([tf.constant(rows.mean(axis=0))], [variable])
    np.testing.assert_array_equal(_updates(ALONE, keras.optimizers.Adam), variable.numpy())


def test_first_bad_update_is_remembered_on_all_workers() -> None:
    """One worker's NaN shows on every worker, with the number of the update it came in and of the variable."""

    def work(collectives: Collectives) -> BadUpdate | None:
        variables = [keras.Variable(START) for _ in range(3)]
        optimizer = averaging(keras.optimizers.SGD, collectives)(learning_rate=0.1)
        optimizer.build(variables)
        for update in range(4):
            bad = update >= 2 and collectives.rank == 1
            sick, sound = tf.constant([float("nan") if bad else 1.0] * 3), tf.constant(START)
            optimizer.apply([sick, sick, sound])
        return bad_update(optimizer.first_bad_update.numpy())

    assert run_world(2, work) == [BadUpdate(update=2, variable=1)] * 2


def test_no_bad_update_while_all_is_well() -> None:
    """Finite gradients leave no mark."""
    optimizer = averaging(keras.optimizers.SGD, ALONE)(learning_rate=0.1)
    optimizer.build([keras.Variable(START)])
    optimizer.apply([tf.constant(START)])
    assert bad_update(optimizer.first_bad_update.numpy()) is None
