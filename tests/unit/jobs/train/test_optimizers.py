"""From a phase of the spec to a Keras optimizer."""

from __future__ import annotations

import math
from typing import Literal

import keras
import numpy as np
import pytest
import tensorflow as tf

from graftwork.spec.job_training import Ema, Phase, Training
from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.train.optimizers import Schedule, ScheduledLearningRate, averaged_weights, make_optimizer

ALONE = Collectives(rank=0, world=1)


def _rates(schedule: Schedule, pieces: int = 1) -> list[float]:
    rate = ScheduledLearningRate(schedule, pieces=pieces)
    return [float(rate(tf.constant(step, tf.int64))) for step in range(schedule.total * pieces)]


def test_constant_rate_with_warm_up() -> None:
    """It rises in equal steps and then stays."""
    rates = _rates(Schedule(base=0.4, kind="constant", warmup=4, total=6))
    np.testing.assert_allclose(rates, [0.1, 0.2, 0.3, 0.4, 0.4, 0.4], rtol=1e-6)


def test_cosine_rate_falls_to_zero() -> None:
    """After warm-up, half a cosine over the rest of the phase."""
    rates = _rates(Schedule(base=2.0, kind="cosine", warmup=2, total=10))
    wanted = [1.0, 2.0] + [1.0 + math.cos(math.pi * done / 8) for done in range(8)]
    np.testing.assert_allclose(rates, wanted, rtol=1e-5, atol=1e-6)


def test_rate_counts_updates_not_pieces() -> None:
    """All pieces of a batch see the same rate, so accumulation does not shorten the schedule."""
    schedule = Schedule(base=1.0, kind="cosine", warmup=0, total=5)
    assert _rates(schedule, pieces=3) == [rate for rate in _rates(schedule) for _ in range(3)]


def test_plateau_factor_multiplies_the_rate() -> None:
    """The factor set between epochs counts from the next step on."""
    rate = ScheduledLearningRate(Schedule(base=0.5, kind="constant", warmup=0, total=5), pieces=1)
    rate.scale.assign(0.25)
    assert float(rate(tf.constant(3))) == pytest.approx(0.125)


def test_schedule_of_a_phase_is_in_updates() -> None:
    """Epochs become updates."""
    phase = Phase(name="head", epochs=3, learning_rate=0.1, schedule="cosine", warmup_epochs=0.5)
    assert Schedule.of_phase(phase, 10) == Schedule(base=0.1, kind="cosine", warmup=5, total=30)


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
def test_weight_decay_leaves_out_biases_and_normalisation(kind: Literal["adam", "adamw", "sgd"]) -> None:
    """With zero gradients only kernels shrink, by learning rate times weight decay."""
    kernel = keras.Variable(np.full((2, 2), 3.0, np.float32))
    bias = keras.Variable(np.full((2,), 3.0, np.float32))
    rate = ScheduledLearningRate(Schedule(base=0.1, kind="constant", warmup=0, total=1), pieces=1)
    optimizer = make_optimizer(Training(optimizer=kind, weight_decay=0.5), rate, [kernel, bias], ALONE)
    optimizer.apply([tf.zeros((2, 2)), tf.zeros(2)])
    np.testing.assert_allclose(kernel.numpy(), 3.0 * (1 - 0.1 * 0.5), rtol=1e-6)
    np.testing.assert_array_equal(bias.numpy(), 3.0)


def test_clip_norm_is_global() -> None:
    """The norm over all gradients together is brought down, their direction kept."""
    variables = [keras.Variable(np.zeros(1, np.float32)), keras.Variable(np.zeros(1, np.float32))]
    rate = ScheduledLearningRate(Schedule(base=1.0, kind="constant", warmup=0, total=1), pieces=1)
    optimizer = make_optimizer(Training(optimizer="sgd", gradient_clip_norm=1.0), rate, variables, ALONE)
    optimizer.apply([tf.constant([3.0]), tf.constant([4.0])])
    np.testing.assert_allclose([variable.numpy()[0] for variable in variables], [-0.6, -0.8], rtol=1e-6)


def test_accumulation_updates_once_a_batch_at_its_own_rate() -> None:
    """Two pieces, one update by their mean, at the rate of that update."""
    variable = keras.Variable(np.zeros(1, np.float32))
    rate = ScheduledLearningRate(Schedule(base=1.0, kind="constant", warmup=2, total=2), pieces=2)
    training = Training(optimizer="sgd", gradient_accumulation=2, batch_size=4)
    optimizer = make_optimizer(training, rate, [variable], ALONE)
    optimizer.apply([tf.constant([1.0])])
    assert variable.numpy()[0] == 0.0
    optimizer.apply([tf.constant([3.0])])
    np.testing.assert_allclose(variable.numpy(), [-0.5 * 2.0], rtol=1e-6)


@pytest.mark.parametrize("pieces", [1, 2])
def test_the_average_of_the_weights_counts_updates(pieces: int) -> None:
    """As by hand: an update keeps `decay` of the average, less at first; pieces of a batch change nothing."""
    variable = keras.Variable(np.ones(1, np.float32))
    rate = ScheduledLearningRate(Schedule(base=0.5, kind="constant", warmup=0, total=9), pieces=pieces)
    training = Training(optimizer="sgd", gradient_accumulation=pieces, batch_size=4, ema=Ema(decay=0.3))
    optimizer = make_optimizer(training, rate, [variable], ALONE)
    average = 1.0
    for update in range(6):
        for _ in range(pieces):
            optimizer.apply([tf.constant([0.1 * (update + 1)])])
        decay = min(0.3, (1 + update) / (10 + update))
        average = decay * average + (1 - decay) * float(variable.numpy()[0])
    last = variable.numpy().copy()
    with averaged_weights(optimizer):
        np.testing.assert_allclose(variable.numpy(), [average], rtol=1e-5)
    np.testing.assert_array_equal(variable.numpy(), last)
    assert any(each is optimizer.averages[0] for each in optimizer.variables)


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
def test_a_share_of_the_rate_is_a_share_of_the_step(kind: Literal["adam", "adamw", "sgd"]) -> None:
    """Also for optimizers that do not care for the size of a gradient."""
    variables = [keras.Variable(np.zeros(1, np.float32)) for _ in range(2)]
    rate = ScheduledLearningRate(Schedule(base=0.1, kind="constant", warmup=0, total=1), pieces=1)
    optimizer = make_optimizer(Training(optimizer=kind), rate, variables, ALONE, rate_shares=[1.0, 0.25])
    optimizer.apply([tf.constant([2.0]), tf.constant([2.0])])
    whole, part = (float(variable.numpy()[0]) for variable in variables)
    assert part == pytest.approx(0.25 * whole, rel=1e-5)
    assert whole < 0
