"""Any Keras optimizer, made to average gradients over the workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import keras
import numpy as np
from keras import ops

from graftwork_jobs.distributed.collectives import Collectives, Tensor
from graftwork_jobs.distributed.gradient_tap import Tap

OptimizerT = TypeVar("OptimizerT", bound=keras.optimizers.Optimizer)

NEVER = -1


@dataclass(frozen=True, kw_only=True)
class BadUpdate:
    """A gradient that was NaN or infinite.

    Attributes:
        update: weight update it came in, counted from 0.
        variable: number of the last such variable, the one nearest to the loss; it went on from there.
    """

    update: int
    variable: int


def averaging(
    optimizer_class: type[OptimizerT],
    collectives: Collectives,
    tap: Tap | None = None,
    *,
    ema_decay: float | None = None,
    rate_shares: Sequence[float] | None = None,
) -> type[OptimizerT]:
    """A subclass whose updates use the mean gradient of all workers.

    Averaging comes after accumulation (so pieces of a batch cost one exchange, not one each) and before clipping (which
    must see the gradient of the whole batch). The subclass also remembers the first update whose gradient was not
    finite: as the averaged gradient is the same everywhere, all workers see that at the same step.

    Args:
        optimizer_class: any Keras optimizer.
        collectives: this worker's place among all workers.
        tap: is shown each averaged gradient; None for none.
        ema_decay: share of a running average of the weights that an update keeps; None for no such average. Keras' own
            counts pieces of batches, not updates, so that accumulation would change the result.
        rate_shares: what the learning rate is multiplied by for each variable; None for 1 throughout.

    Returns:
        The subclass; its instances have `first_bad_update`, integers, shape (2,): the update and the number of the last
        such variable; `NEVER` while all is well; `averages`, one a trained variable, empty without `ema_decay`; and
        `slots`: by name, what it keeps for each trained variable, in their order.
    """

    class AveragingOptimizer(optimizer_class):  # type: ignore[misc,valid-type]  # the base is an argument
        def build(self, variables: Sequence[keras.Variable]) -> None:
            self.slots: dict[str, list[keras.Variable]] = {}
            super().build(variables)
            self.first_bad_update = self.add_variable(
                shape=(2,), initializer=keras.initializers.Constant(NEVER), dtype="int", name="first_bad_update"
            )
            self.averages = []
            if ema_decay is not None:
                self.averages = [self.add_variable_from_reference(each, "average") for each in variables]
                for average, variable in zip(self.averages, variables, strict=True):
                    average.assign(variable)

        def add_variable_from_reference(
            self, reference_variable: keras.Variable, name: str | None = None, initializer: Any = "zeros"
        ) -> keras.Variable:
            slot = super().add_variable_from_reference(reference_variable, name=name, initializer=initializer)
            self.slots.setdefault(name or "var", []).append(slot)
            return slot

        def apply(self, grads: Sequence[Any], trainable_variables: Sequence[keras.Variable] | None = None) -> None:
            if trainable_variables is not None:
                for gradient, variable in zip(grads, trainable_variables, strict=True):
                    _state_shape(gradient, variable)
            super().apply(grads, trainable_variables)

        def _clip_gradients(self, grads: Sequence[Tensor]) -> Sequence[Tensor]:
            # Keras calls this once an update, with or without accumulation and whether or not it clips.
            averaged = collectives.mean_of_all(grads, name="gradients")
            self._remember_bad_update(averaged)
            if tap is not None:
                tap.watch(averaged)
            clipped: Sequence[Tensor] = super()._clip_gradients(averaged)
            return clipped

        def update_step(self, gradient: Tensor, variable: Any, learning_rate: Any) -> None:
            if rate_shares is not None:
                learning_rate *= rate_shares[self._get_variable_index(variable)]
            super().update_step(gradient, variable, learning_rate)

        def _backend_update_step(self, grads: Sequence[Any], trainable_variables: Sequence[Any], rate: Any) -> None:
            super()._backend_update_step(grads, trainable_variables, rate)
            if ema_decay is None:
                return
            update = ops.cast(self.iterations, "float32")
            # The first averages would else be those of weights that nothing has changed yet.
            # Source: the `num_updates` of tf.train.ExponentialMovingAverage.
            decay = ops.minimum(ema_decay, (1.0 + update) / (10.0 + update))
            for average, variable in zip(self.averages, self._trainable_variables, strict=True):
                average.assign(decay * average + (1.0 - decay) * variable)

        def _remember_bad_update(self, grads: Sequence[Tensor]) -> None:
            known = self.first_bad_update.value
            finite = ops.stack([ops.all(ops.isfinite(gradient)) for gradient in grads])
            numbers = ops.cast(ops.arange(len(grads)), known.dtype)
            last = ops.max(ops.where(finite, ops.full_like(numbers, NEVER), numbers))
            is_first = ops.logical_and(last > NEVER, ops.equal(known[0], NEVER))
            seen = ops.stack([ops.cast(self.iterations, known.dtype), last])
            self.first_bad_update.assign(ops.where(is_first, seen, known))

    AveragingOptimizer.__name__ = optimizer_class.__name__
    return AveragingOptimizer


def _state_shape(gradient: Any, variable: keras.Variable) -> None:
    """Tell TensorFlow a gradient's shape: it loses that where the network slices a weight to the length of a batch."""
    # Only TensorFlow's dense tensors have the method; elsewhere shapes are always known.
    if hasattr(gradient, "set_shape"):
        gradient.set_shape(variable.shape)


def bad_update(remembered: Any) -> BadUpdate | None:
    """The first update whose gradient was not finite; None while all is well.

    Args:
        remembered: value of the optimizer's `first_bad_update`.
    """
    update, variable = np.asarray(remembered).tolist()
    return None if update == NEVER else BadUpdate(update=update, variable=variable)
