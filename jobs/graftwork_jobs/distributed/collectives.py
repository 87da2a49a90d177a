"""Sums over all workers, inside compiled steps and outside. The only module that calls TensorFlow's collective ops.

A world of one worker takes the same path; only the exchange itself is left out. Workers of one machine exchange through
memory that they share, where they have it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    from numpy.typing import NDArray

    from graftwork_jobs.distributed.shared_memory import SharedMemory

Tensor: TypeAlias = Any
"""A tensor of the Keras backend."""

# TensorFlow keeps one group per key and device type. Its own strategies count from 1; stay clear of them.
_GROUP_KEYS = {"CPU": 7_001, "GPU": 7_002}
# Values exchanged at once outside compiled steps: 16 MiB of float32.
_CHUNK = 4 * 1024**2
# Compiled exchanges of arrays that are kept.
_MOST_SIZES = 64
# Set while a worker computes what it would compute without the others.
_is_alone: ContextVar[bool] = ContextVar("is_alone", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """Within the block, eager code of this worker exchanges nothing: sums and means are its own values.

    Exchanges of arrays outside steps (`sum_array`, `broadcast`) are not meant and stay as they are.
    """
    token = _is_alone.set(True)
    try:
        yield
    finally:
        _is_alone.reset(token)


@dataclass(frozen=True, kw_only=True)
class Collectives:
    """This worker's place among all workers.

    Attributes:
        rank: 0 .. world - 1.
        world: number of workers.
        memory: what they exchange through if they are all on one machine and compute on its CPUs; otherwise None.
    """

    rank: int
    world: int
    memory: SharedMemory | None = None

    @property
    def in_step(self) -> Collectives:
        """Those whose rows a compiled step exchanges: all workers."""
        return self

    def sum(self, value: tf.Tensor, *, name: str) -> tf.Tensor:
        """Add up a tensor over all workers; gradients flow back to every worker's share.

        All workers must reach the call in the same order.

        Args:
            value: same shape and dtype on all workers; float or signed integer.
            name: what is exchanged; the same on all workers, different for each call within a compiled step.

        Returns:
            The sum, the same on all workers.
        """
        if self.world == 1 or _is_alone.get():
            return value
        import tensorflow as tf

        def exchange(local: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            def backward(upstream: tf.Tensor) -> tf.Tensor:
                # Every worker's loss depends on every worker's share through the sum.
                return self._exchange(upstream, f"{name}/gradient")

            return self._exchange(local, name), backward

        return tf.custom_gradient(exchange)(value)

    def mean_of_all(self, values: Sequence[tf.Tensor], *, name: str) -> list[tf.Tensor]:
        """Average a list of float tensors over all workers in a single exchange.

        Args:
            values: same shapes on all workers.
            name: as in `sum`.
        """
        if self.world == 1 or _is_alone.get():
            return list(values)
        import tensorflow as tf

        dense = [tf.convert_to_tensor(value) for value in values]
        flat = tf.concat([tf.reshape(tf.cast(value, tf.float32), [-1]) for value in dense], axis=0)
        mean = self._exchange(flat, name, final_op="Div")
        parts = tf.split(mean, [value.shape.num_elements() for value in dense])
        return [tf.cast(tf.reshape(part, value.shape), value.dtype) for part, value in zip(parts, dense, strict=True)]

    def sum_array(self, array: NDArray[Any]) -> NDArray[Any]:
        """Add up an array over all workers, outside compiled steps.

        Args:
            array: same shape on all workers; float32, float64, int32 or int64.
        """
        if self.world == 1:
            return array
        flat = np.ascontiguousarray(array).reshape(-1)
        chunks = [self._sum_flat(flat[start : start + _CHUNK]) for start in range(0, flat.size, _CHUNK)]
        return np.concatenate(chunks).reshape(array.shape) if chunks else array

    def broadcast(self, variables: Sequence[keras.Variable]) -> None:
        """Give every worker rank 0's values, bit by bit, in one exchange."""
        if self.world == 1:
            return
        own = [np.asarray(variable.value) for variable in variables]
        content = b"".join(values.tobytes() for values in own)
        # As integers: a sum of floats makes 0 of -0 and, where a processor leaves them out, of the smallest numbers.
        words = np.frombuffer(content.ljust(-(-len(content) // 4) * 4, b"\0"), np.int32)
        received, start = self.sum_array(words if self.rank == 0 else np.zeros_like(words)).tobytes(), 0
        for variable, values in zip(variables, own, strict=True):
            variable.assign(np.frombuffer(received, values.dtype, values.size, start).reshape(values.shape))
            start += values.nbytes

    def _sum_flat(self, flat: NDArray[Any]) -> NDArray[Any]:
        if self.memory is not None:
            return self.memory.sum(flat, name="array")
        return np.asarray(_sum_of_arrays(self, flat.dtype.name, flat.size)(flat))

    def _exchange(self, value: tf.Tensor, name: str, *, final_op: str = "Id", device: str | None = None) -> tf.Tensor:
        import tensorflow as tf

        if self.memory is not None:
            # An operation with effects outside the graph: TensorFlow keeps those in the order they were traced in.
            exchange = partial(self.memory.sum, name=name, is_mean=final_op == "Div")
            return tf.ensure_shape(tf.numpy_function(exchange, [value], value.dtype), value.shape)
        kind = device or ("GPU" if tf.config.list_logical_devices("GPU") else "CPU")
        with tf.device(f"/device:{kind}:0"):
            return tf.raw_ops.CollectiveReduceV2(
                input=value,
                group_size=self.world,
                group_key=_GROUP_KEYS[kind],
                # TensorFlow ties a key to the first shape it sees; what is exchanged changes shape between phases.
                instance_key=_instance_key(f"{name}/{value.dtype.name}/{value.shape}"),
                ordering_token=[],
                merge_op="Add",
                final_op=final_op,
                communication_hint="nccl" if kind == "GPU" else "ring",
            )


ALONE = Collectives(rank=0, world=1)
"""A worker without others."""


@lru_cache(maxsize=_MOST_SIZES)
def _sum_of_arrays(collectives: Collectives, dtype: str, size: int) -> Callable[[NDArray[Any]], tf.Tensor]:
    """A compiled exchange of flat arrays of one type and size; compiling costs more than most exchanges."""
    import tensorflow as tf

    def exchange(value: tf.Tensor) -> tf.Tensor:
        return collectives._exchange(value, "array", device="CPU")  # noqa: SLF001 (in the same module)

    compiled: Callable[[NDArray[Any]], tf.Tensor] = tf.function(
        exchange, input_signature=[tf.TensorSpec([size], dtype)], autograph=False
    )
    return compiled


def _instance_key(name: str) -> int:
    """A number that all workers derive alike, whatever order they trace their functions in."""
    return zlib.crc32(name.encode()) & 0x7FFF_FFFF
