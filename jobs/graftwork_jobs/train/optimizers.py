"""From a phase of the spec to a Keras optimizer: kind, learning rate, weight decay, clipping, accumulation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
from keras import ops

from graftwork.spec.fine_tune_job import Phase, Training
from graftwork_jobs.distributed.collectives import Collectives, Tensor
from graftwork_jobs.distributed.gradient_tap import Tap
from graftwork_jobs.distributed.optimizer import averaging
from graftwork_jobs.train.fused_adam import fused
from graftwork_jobs.train.late_start import starting_late

_SGD_MOMENTUM = 0.9


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the learning rate goes over a phase, in updates.

    Attributes:
        base: learning rate after warm-up.
        kind: `constant`, or `cosine` down to zero at the end.
        warmup: updates over which it rises linearly.
        total: updates of the whole phase.
    """

    base: float
    kind: str
    warmup: int
    total: int

    @classmethod
    def of_phase(cls, phase: Phase, updates_per_epoch: int) -> Schedule:
        """The schedule a phase asks for."""
        return cls(
            base=phase.learning_rate,
            kind=phase.schedule,
            warmup=round(phase.warmup_epochs * updates_per_epoch),
            total=phase.epochs * updates_per_epoch,
        )


class ScheduledLearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """A `Schedule` as Keras wants it, times a factor that reduction on a plateau lowers between epochs."""

    def __init__(self, schedule: Schedule, *, pieces: int) -> None:
        super().__init__()
        self._schedule = schedule
        self._pieces = pieces
        self.scale = keras.Variable(1.0, dtype="float32", trainable=False, name="learning_rate_scale")

    def __call__(self, step: Any) -> Tensor:
        """Learning rate of an update.

        Args:
            step: pieces of batches seen so far (Keras counts these, not updates).
        """
        schedule = self._schedule
        update = ops.cast(ops.convert_to_tensor(step) // self._pieces, "float32")
        rate = ops.convert_to_tensor(schedule.base, dtype="float32")
        if schedule.kind == "cosine":
            done = (update - schedule.warmup) / max(schedule.total - schedule.warmup, 1)
            rate *= 0.5 * (1.0 + ops.cos(math.pi * ops.clip(done, 0.0, 1.0)))
        if schedule.warmup:
            rate = ops.where(update < schedule.warmup, schedule.base * (update + 1.0) / schedule.warmup, rate)
        return rate * ops.convert_to_tensor(self.scale)

    def get_config(self) -> dict[str, Any]:
        """Never stored: a phase builds its schedule from the spec."""
        raise NotImplementedError


def make_optimizer(
    training: Training,
    learning_rate: ScheduledLearningRate,
    trainable: Sequence[keras.Variable],
    collectives: Collectives,
    tap: Tap | None = None,
    rate_shares: Sequence[float] | None = None,
    first_updates: Sequence[int] | None = None,
) -> keras.optimizers.Optimizer:
    """The optimizer of a phase, built for the variables that train in it.

    Args:
        training: what the spec says.
        learning_rate: the phase's.
        trainable: variables that train; biases and normalisation (rank 0 and 1) get no weight decay.
        collectives: this worker's place among all workers.
        tap: is shown each averaged gradient; None for none.
        rate_shares: what the learning rate is multiplied by for each variable; None for 1 throughout.
        first_updates: the update of the phase in which each variable begins to train; None for the first throughout.
    """
    common: dict[str, Any] = {
        "learning_rate": learning_rate,
        "weight_decay": training.weight_decay or None,
        "global_clipnorm": training.gradient_clip_norm,
        "gradient_accumulation_steps": training.gradient_accumulation if training.gradient_accumulation > 1 else None,
    }
    with_average = partial(
        averaging,
        collectives=collectives,
        tap=tap,
        ema_decay=None if training.ema is None else training.ema.decay,
        rate_shares=rate_shares,
    )
    match training.optimizer:
        case "adam":
            optimizer = with_average(starting_late(fused(keras.optimizers.Adam), first_updates))(**common)
        case "adamw":
            common["weight_decay"] = training.weight_decay
            optimizer = with_average(starting_late(fused(keras.optimizers.AdamW), first_updates))(**common)
        case "sgd":
            optimizer = with_average(keras.optimizers.SGD)(momentum=_SGD_MOMENTUM, **common)
    if training.weight_decay:
        vectors = [variable for variable in trainable if len(variable.shape) <= 1]
        optimizer.exclude_from_weight_decay(var_list=vectors)
    optimizer.build(list(trainable))
    # State like the rest: a compiled step would else keep the value it was compiled with.
    optimizer._track_variable(learning_rate.scale)  # noqa: SLF001 (as Keras' own `add_variable` does)
    return optimizer


@contextmanager
def averaged_weights(optimizer: Any) -> Iterator[None]:
    """Inside the block the trained variables hold their running averages, if the optimizer keeps any."""
    pairs = list(zip(optimizer.averages, optimizer._trainable_variables, strict=False))  # noqa: SLF001 (as Keras names it)
    before = [variable.numpy() for _, variable in pairs]
    for average, variable in pairs:
        variable.assign(average)
    try:
        yield
    finally:
        for (_, variable), value in zip(pairs, before, strict=True):
            variable.assign(value)
