"""A worker of two that share memory, for the test that kills one: `python -m ... RANK FD`, FD its end of a pipe."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray

from graftwork_jobs.distributed.shared_memory import share_memory


class _Worker:
    world = 2

    def __init__(self, rank: int, told: Connection) -> None:
        self.rank = rank
        self._told = told

    def sum_array(self, array: NDArray[np.int32]) -> NDArray[np.int32]:
        self._told.send(array)
        received: NDArray[np.int32] = self._told.recv()
        return received


def main() -> None:
    """Add up until the other is lost, and tell so."""
    told = Connection(int(sys.argv[2]))
    memory = share_memory(_Worker(int(sys.argv[1]), told))
    try:
        while True:
            memory.sum(np.ones(100_000, np.float32), name="x")
    except ConnectionError as error:
        told.send(str(error))


if __name__ == "__main__":
    main()
