"""Sums over all workers on JAX, outside compiled steps. Within them XLA does what is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graftwork_jobs.distributed.collectives import ALONE, Collectives

if TYPE_CHECKING:
    from numpy.typing import NDArray


def devices_of_workers() -> list[Any]:
    """The `jax.Device` that each worker computes on, by rank."""
    import jax

    first: dict[int, Any] = {}
    for device in jax.devices():
        first.setdefault(device.process_index, device)
    return [first[process] for process in sorted(first)]


@dataclass(frozen=True, kw_only=True)
class JaxCollectives(Collectives):
    """`Collectives` of workers that `jax.distributed` has brought together."""

    @property
    def in_step(self) -> Collectives:
        """One worker: the program of a step sees the whole batch."""
        return ALONE

    def _sum_flat(self, flat: NDArray[Any]) -> NDArray[Any]:
        from jax.experimental.multihost_utils import process_allgather

        # As bytes: JAX would make float32 of float64, and int32 of int64.
        gathered = np.asarray(process_allgather(flat.view(np.uint8)))
        total: NDArray[Any] = gathered.view(flat.dtype).reshape(self.world, -1).sum(axis=0, dtype=flat.dtype)
        return total
