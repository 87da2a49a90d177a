"""Any Keras optimizer, made to average gradients over the workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import keras
import tensorflow as tf

from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.distributed.gradient_tap import GradientTap

OptimizerT = TypeVar("OptimizerT", bound=keras.optimizers.Optimizer)

NEVER = -1


def averaging(
    optimizer_class: type[OptimizerT], collectives: Collectives, tap: GradientTap | None = None
) -> type[OptimizerT]:
    """A subclass whose updates use the mean gradient of all workers.

    Averaging comes after accumulation (so pieces of a batch cost one exchange, not one each) and before clipping (which
    must see the gradient of the whole batch). The subclass also remembers the first update whose gradient was not
    finite: as the averaged gradient is the same everywhere, all workers see that at the same step.

    Args:
        optimizer_class: any Keras optimizer.
        collectives: this worker's place among all workers.
        tap: is shown each averaged gradient; None for none.

    Returns:
        The subclass; its instances have `first_bad_update`, an int64 variable that is `NEVER` while all is well.
    """

    class AveragingOptimizer(optimizer_class):  # type: ignore[misc,valid-type]  # the base is an argument
        def build(self, variables: Sequence[keras.Variable]) -> None:
            super().build(variables)
            self.first_bad_update = self.add_variable(
                shape=(), initializer=keras.initializers.Constant(NEVER), dtype="int64", name="first_bad_update"
            )

        def apply(self, grads: Sequence[Any], trainable_variables: Sequence[keras.Variable] | None = None) -> None:
            if trainable_variables is not None:
                for gradient, variable in zip(grads, trainable_variables, strict=True):
                    _state_shape(gradient, variable)
            super().apply(grads, trainable_variables)

        def _clip_gradients(self, grads: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
            # Keras calls this once an update, with or without accumulation and whether or not it clips.
            averaged = collectives.mean_of_all(grads, name="gradients")
            self._remember_bad_update(averaged)
            if tap is not None:
                tap.watch(averaged)
            clipped: Sequence[tf.Tensor] = super()._clip_gradients(averaged)
            return clipped

        def _remember_bad_update(self, grads: Sequence[tf.Tensor]) -> None:
            finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in grads])
            first_time = tf.logical_and(tf.logical_not(finite), tf.equal(self.first_bad_update.value, NEVER))
            update = tf.cast(self.iterations, tf.int64)
            self.first_bad_update.assign(tf.where(first_time, update, self.first_bad_update.value))

    AveragingOptimizer.__name__ = optimizer_class.__name__
    return AveragingOptimizer


def _state_shape(gradient: Any, variable: keras.Variable) -> None:
    """Tell TensorFlow a gradient's shape: it loses that where the network slices a weight to the length of a batch."""
    if isinstance(gradient, tf.Tensor):
        gradient.set_shape(variable.shape)


def first_bad_update(optimizer: Any) -> int | None:
    """The first update (counted from 0) whose gradient was not finite; None while all is well."""
    update = int(optimizer.first_bad_update.numpy())
    return None if update == NEVER else update
