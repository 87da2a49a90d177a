"""Adam whose update of a variable is one operation on TensorFlow.

Keras writes it as eleven, each of which goes through the memory of the variable or its moments again; with millions of
weights and small batches that is a noticeable part of a step (`tests/benchmarks/bench_adam.py`). The formula is the
same: Kingma & Ba 2015 (arXiv:1412.6980), section 2, in the order of its last paragraph.
"""

from __future__ import annotations

from typing import Any, TypeVar

import keras
from keras import ops

AdamT = TypeVar("AdamT", bound=keras.optimizers.Adam)


def fused(optimizer_class: type[AdamT]) -> type[AdamT]:
    """An Adam, or a kind of it that differs in weight decay alone, with fused updates if Keras runs on TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        return optimizer_class

    class FusedAdam(optimizer_class):  # type: ignore[misc,valid-type]  # the base is an argument
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            import tensorflow as tf

            place, dtype = self._get_variable_index(variable), variable.dtype
            count = ops.cast(self.iterations + 1, dtype)
            tf.raw_ops.ResourceApplyAdam(
                var=_handle(variable),
                m=_handle(self._momentums[place]),
                v=_handle(self._velocities[place]),
                beta1_power=ops.power(ops.cast(self.beta_1, dtype), count),
                beta2_power=ops.power(ops.cast(self.beta_2, dtype), count),
                lr=ops.cast(learning_rate, dtype),
                beta1=ops.cast(self.beta_1, dtype),
                beta2=ops.cast(self.beta_2, dtype),
                epsilon=ops.cast(self.epsilon, dtype),
                grad=tf.convert_to_tensor(ops.cast(gradient, dtype)),
            )

    FusedAdam.__name__ = optimizer_class.__name__
    return FusedAdam


def _handle(variable: Any) -> Any:
    """What TensorFlow's operations take for a variable of Keras' or its own."""
    return variable.value.handle if isinstance(variable, keras.Variable) else variable.handle
