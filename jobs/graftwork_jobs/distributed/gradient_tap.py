"""A look at the gradients that an optimizer is about to use, from inside a compiled step, without compiling another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import tensorflow as tf


class Tap(Protocol):
    """Is shown the gradients that an optimizer is about to use."""

    def watch(self, gradients: Sequence[Any]) -> None:
        """Called by the optimizer once an update, eagerly or while a step is compiled."""
        ...


class GradientTap:
    """On TensorFlow. Shut, it costs a step one comparison; open, it copies an update's gradients out of it."""

    def __init__(self) -> None:
        import tensorflow as tf

        self._is_open = tf.Variable(tf.constant(False), trainable=False, name="gradient_tap")
        self._seen: list[NDArray[Any]] = []

    @contextmanager
    def open(self) -> Iterator[list[NDArray[Any]]]:
        """Within the block, the list yielded holds the gradients of the last update, in the optimizer's order."""
        self._seen.clear()
        self._is_open.assign(True)
        try:
            yield self._seen
        finally:
            self._is_open.assign(False)

    def watch(self, gradients: Sequence[tf.Tensor]) -> None:
        """Called by the optimizer once an update, eagerly or while a step is compiled."""
        import tensorflow as tf

        def look() -> tf.Tensor:
            dense = [tf.cast(tf.convert_to_tensor(gradient), tf.float32) for gradient in gradients]
            return tf.numpy_function(self._keep, dense, tf.int64)

        tf.cond(self._is_open, look, lambda: tf.constant(0, tf.int64))

    def _keep(self, *gradients: NDArray[Any]) -> np.int64:
        self._seen[:] = [np.array(gradient) for gradient in gradients]
        return np.int64(len(gradients))


class TracedTap:
    """On JAX: whoever traces a step gives the gradients seen back as one of its results."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def watch(self, gradients: Sequence[Any]) -> None:
        """Called while a step is traced. With pieces of batches, what the last one shows is the update's."""
        self.seen = list(gradients)
