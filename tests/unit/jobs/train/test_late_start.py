"""Optimizers whose variables begin to train at different times."""

from __future__ import annotations

from typing import Any, Literal

import keras
import numpy as np
import pytest

from graftwork.spec.job_training import Ema, Training
from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.train.late_start import carry_over
from graftwork_jobs.train.optimizers import Schedule, ScheduledLearningRate, make_optimizer

_ALONE = Collectives(rank=0, world=1)
_GRADIENTS = [np.array([0.5, -2.0], np.float32) * factor for factor in (1.0, -0.3, 0.7, 2.0, 0.1)]
_STARTS_AT = 2


def _optimizer(training: Training, variables: list[keras.Variable], first_updates: list[int] | None = None) -> Any:
    rate = ScheduledLearningRate(Schedule(base=0.1, kind="constant", warmup=0, total=9), pieces=1)
    return make_optimizer(training, rate, variables, _ALONE, first_updates=first_updates)


def _variable() -> keras.Variable:
    return keras.Variable(np.array([1.0, 2.0], np.float32))


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
def test_a_variable_that_starts_late_moves_as_if_it_were_the_first(kind: Literal["adam", "adamw", "sgd"]) -> None:
    """Beside one that has trained before, which goes on as if nothing had happened."""
    training = Training(optimizer=kind)
    early, late, alone, twin = (_variable() for _ in range(4))
    before = _optimizer(training, [early])
    undisturbed, fresh = _optimizer(training, [alone]), _optimizer(training, [twin])
    for gradient in _GRADIENTS[:_STARTS_AT]:
        before.apply([gradient], [early])
        undisturbed.apply([gradient], [alone])
    # In another order than before.
    after = _optimizer(training, [late, early], [_STARTS_AT, 0])
    carry_over(before, after)
    for gradient in _GRADIENTS[_STARTS_AT:]:
        after.apply([gradient, gradient], [late, early])
        undisturbed.apply([gradient], [alone])
        fresh.apply([gradient], [twin])
    np.testing.assert_allclose(early.numpy(), alone.numpy(), rtol=1e-6)
    # Adam's epsilon is added before the correction, so it counts a little differently.
    np.testing.assert_allclose(late.numpy(), twin.numpy(), rtol=1e-5)


def test_running_averages_go_on() -> None:
    """Those of a variable that trained before are kept; a new one's begins with its value."""
    training = Training(ema=Ema(decay=0.5))
    early, late = _variable(), _variable()
    before = _optimizer(training, [early])
    before.apply([_GRADIENTS[0]], [early])
    after = _optimizer(training, [early, late], [0, 1])
    carry_over(before, after)
    (kept,) = before.averages
    np.testing.assert_array_equal(after.averages[0].numpy(), kept.numpy())
    assert not np.array_equal(kept.numpy(), early.numpy())
    np.testing.assert_array_equal(after.averages[1].numpy(), late.numpy())
    assert int(after.iterations) == 1
