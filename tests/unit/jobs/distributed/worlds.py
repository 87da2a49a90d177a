"""Several workers within one process: a thread each, and exchanges that meet at a barrier instead of on the network."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import tensorflow as tf

from graftwork_jobs.distributed.collectives import Collectives

T = TypeVar("T")
_PATIENCE_S = 60.0


class _Table:
    """Where the threads lay down their shares."""

    def __init__(self, world: int) -> None:
        self.shares: list[tf.Tensor | None] = [None] * world
        self.names: list[str] = []
        self.arrived = threading.Barrier(world, timeout=_PATIENCE_S)
        self.left = threading.Barrier(world, timeout=_PATIENCE_S)


@dataclass(frozen=True, kw_only=True)
class ThreadCollectives(Collectives):
    """`Collectives` whose workers are threads; for eager code."""

    table: _Table

    def _exchange(self, value: tf.Tensor, name: str, *, final_op: str = "Id", device: str | None = None) -> tf.Tensor:
        self.table.shares[self.rank] = value
        if self.rank == 0:
            self.table.names.append(name)
        self.table.arrived.wait()
        total = tf.add_n([share for share in self.table.shares if share is not None])
        self.table.left.wait()
        return total / self.world if final_op == "Div" else total

    def sum_array(self, array: np.ndarray) -> np.ndarray:
        """Without the compiled function that real workers use."""
        return np.asarray(self._exchange(tf.constant(array), "array"))


def run_world(world: int, work: Callable[[Collectives], T]) -> list[T]:
    """Run `work` as every worker at once.

    Returns:
        What each worker returned, by rank.
    """
    table = _Table(world)
    with ThreadPoolExecutor(world) as pool:
        futures = [pool.submit(work, ThreadCollectives(rank=rank, world=world, table=table)) for rank in range(world)]
        return [future.result(timeout=_PATIENCE_S) for future in futures]
