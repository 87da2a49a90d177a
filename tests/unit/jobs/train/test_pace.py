"""How many training steps run in one call, and that the number changes nothing else."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from graftwork_jobs.data.batch_plan import BatchPlan
from graftwork_jobs.distributed.collectives import ALONE, Collectives
from graftwork_jobs.distributed.optimizer import averaging
from graftwork_jobs.features.batches import feature_train_batches
from graftwork_jobs.targets.classes import ClassTarget
from graftwork_jobs.train.checkpoint import values_of
from graftwork_jobs.train.objective import TrainingModel, with_validity
from graftwork_jobs.train.pace import Pace
from graftwork_jobs.train.tensorflow_steps import TensorFlowSteps
from tests.unit.jobs.distributed.worlds import run_world

TARGET = ClassTarget(("a", "b", "c"))
STEPS = 12


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock whose only entry is the time, in seconds."""
    now = [0.0]
    monkeypatch.setattr("graftwork_jobs.train.pace.time.perf_counter", lambda: now[0])
    return now


def _calls(pace: Pace, clock: list[float], step_s: float, *, compile_s: float = 3.0) -> list[int]:
    """Steps of the first four calls."""
    done = []
    for number in range(4):
        done.append(pace.steps)
        with pace.measured(pace.steps):
            clock[0] += pace.steps * step_s + (compile_s if number == 0 else 0.0)
    return done


@pytest.mark.parametrize(
    ("step_s", "pieces", "expected"),
    [
        (0.001, 1, [1, 1, 16, 16]),
        (0.03, 1, [1, 1, 6, 6]),
        (0.5, 1, [1, 1, 1, 1]),
        (0.02, 4, [4, 4, 8, 8]),
    ],
    ids=["short steps", "steps of 30 ms", "long steps", "pieces of batches"],
)
def test_short_steps_share_a_call(clock: list[float], step_s: float, pieces: int, expected: list[int]) -> None:
    """The first call compiles, the second is measured; a call holds whole updates and takes a fifth of a second."""
    assert _calls(Pace(ALONE, pieces=pieces, asked=None, most=16), clock, step_s) == expected


def test_a_job_can_say_how_many(clock: list[float]) -> None:
    """Then nothing is measured."""
    assert _calls(Pace(ALONE, pieces=1, asked=7, most=16), clock, 0.5) == [7, 7, 7, 7]


def test_workers_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """They exchange in every step, and decide about checkpoints between calls."""
    monkeypatch.setattr("graftwork_jobs.train.pace.time.perf_counter", iter(range(100)).__next__)

    def work(collectives: Collectives) -> int:
        pace = Pace(collectives, pieces=1, asked=None, most=1000)
        for _ in range(2):
            with pace.measured(10 * (1 + collectives.rank)):
                pass
        return pace.steps

    assert len(set(run_world(3, work))) == 1


def _trained(counts: list[int]) -> tuple[list[np.ndarray], list[float]]:
    """Weights, moments and sums after so many steps, in calls of these sizes."""
    features = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    labels = (np.arange(50) % 3).astype(np.int32)
    given = keras.Input((6,))
    dense = keras.layers.Dense(3, kernel_initializer=keras.initializers.GlorotUniform(seed=1))
    head = keras.Model(given, dense(given))
    model = TrainingModel(head, backbone=None, head=head, backbone_trains=False)
    made: Any = averaging(keras.optimizers.Adam, ALONE)
    optimizer = made(learning_rate=0.01, gradient_accumulation_steps=2)
    optimizer.build(head.trainable_variables)
    steps = TensorFlowSteps(model, optimizer, TARGET, ALONE)
    plan = BatchPlan(batch_size=8, pieces=2, rank=0, world=1)
    data = feature_train_batches([features], labels, plan, seed=3, phase=0, epoch=0, row_weights=None)
    batches = steps.batches(data.map(with_validity))
    steps.count_from(())
    for count in counts:
        steps.run(batches, count)
    steps.settle()
    return values_of([*head.variables, *optimizer.variables]), steps.counted().tolist()


@pytest.mark.parametrize("counts", [[STEPS], [1, 1, 10], [5, 7]])
def test_what_is_trained_does_not_depend_on_it(counts: list[int]) -> None:
    """To the last bit, with batches in pieces."""
    expected, counted = _trained([1] * STEPS)
    values, sums = _trained(counts)
    for one, other in zip(values, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert sums == counted
    assert counted[-1] == 4 * STEPS
