"""Optimizers whose variables begin to train at different times, as gradual unfreezing has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import keras
from keras import ops

OptimizerT = TypeVar("OptimizerT", bound=keras.optimizers.Optimizer)


def starting_late(optimizer_class: type[OptimizerT], first_updates: Sequence[int] | None) -> type[OptimizerT]:
    """An Adam that corrects the bias of each variable's moments by how long that variable has trained.

    Keras counts from the optimizer's first update. A variable that starts later has moments that are as empty as any
    at the start, and its first steps would be three times too long.

    Source: Kingma & Ba 2015 (arXiv:1412.6980), section 3.

    Args:
        optimizer_class: Adam, or a kind of it.
        first_updates: the update, from 0, in which each variable begins to train; None for the first throughout.
    """
    if first_updates is None or not any(first_updates):
        return optimizer_class
    begins = list(first_updates)

    class LateStartingOptimizer(optimizer_class):  # type: ignore[misc,valid-type]  # the base is an argument
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            first = begins[self._get_variable_index(variable)]
            if first:
                learning_rate *= self._correction(self.iterations + 1 - first) / self._correction(self.iterations + 1)
            super().update_step(gradient, variable, learning_rate)

        def _correction(self, update: Any) -> Any:
            """What the learning rate is multiplied by in an update, counted from 1, against zeros at the start."""
            count = ops.cast(update, "float32")
            return ops.sqrt(1.0 - ops.power(self.beta_2, count)) / (1.0 - ops.power(self.beta_1, count))

    LateStartingOptimizer.__name__ = optimizer_class.__name__
    return LateStartingOptimizer


def carry_over(before: Any, after: Any) -> None:
    """Give an optimizer what another one had gathered for the variables that both train, and its count of updates.

    Args:
        before: from `distributed.optimizer.averaging`.
        after: the same kind, for some of the same variables and others.
    """
    after._iterations.assign(before._iterations)  # noqa: SLF001 (the public one counts whole batches only)
    places = {id(variable): place for place, variable in enumerate(before._trainable_variables)}  # noqa: SLF001
    for place, variable in enumerate(after._trainable_variables):  # noqa: SLF001 (Keras has no public name)
        earlier = places.get(id(variable))
        if earlier is not None:
            for kind, slots in after.slots.items():
                slots[place].assign(before.slots[kind][earlier])
