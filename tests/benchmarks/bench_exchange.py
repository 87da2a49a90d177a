"""Averaging gradients between two worker processes of this machine: shared memory beside TensorFlow's ring.

The same compiled function with either, in turn, one thread a worker; medians. Checks that both give the same bits.

Run: python -m tests.benchmarks.bench_exchange [--rounds 15]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import numpy as np

from tests.benchmarks.bench_serving import free_port

_WORLD = 2
_TENSORS = 100
_SIZES = (1_000, 100_000, 1_000_000, 3_160_000, 20_000_000)


def _work(rank: int, addresses: list[str], rounds: int) -> None:
    """What each worker process runs; rank 0 prints."""
    from graftwork_jobs.distributed.backend import _join
    from graftwork_jobs.distributed.collectives import Collectives
    from graftwork_jobs.distributed.shared_memory import share_memory
    from graftwork_jobs.distributed.worker_process import WorkerProcess

    _join(rank, addresses, WorkerProcess(backend="tensorflow", threads=1))
    import tensorflow as tf

    ring = Collectives(rank=rank, world=_WORLD)
    ways = (ring, replace(ring, memory=share_memory(ring)))
    random = np.random.default_rng(rank)
    if rank == 0:
        print(f"{'numbers':>11} {'ring ms':>9} {'memory ms':>9} {'ratio':>6}", flush=True)
    for size in _SIZES:
        gradients = [tf.constant(random.normal(size=size // _TENSORS).astype(np.float32)) for _ in range(_TENSORS)]

        average = [partial(way.mean_of_all, gradients, name=f"{size}") for way in ways]
        compiled = [tf.function(way, autograph=False) for way in average]
        results = [[part.numpy() for part in function()] for function in compiled]
        for one, other in zip(*results, strict=True):
            np.testing.assert_array_equal(one, other)
        times: list[list[float]] = [[], []]
        for _ in range(rounds):
            for seconds, function in zip(times, compiled, strict=True):
                began = time.perf_counter()
                function()
                seconds.append(time.perf_counter() - began)
        by_ring, by_memory = (1000 * statistics.median(seconds) for seconds in times)
        if rank == 0:
            print(f"{size:>11,} {by_ring:>9.2f} {by_memory:>9.2f} {by_ring / by_memory:>6.2f}", flush=True)


def main() -> None:
    """Start the workers and wait for them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        rank, *addresses = options.worker
        _work(int(rank), addresses, options.rounds)
        return
    command = [sys.executable, "-m", "tests.benchmarks.bench_exchange", "--rounds", str(options.rounds), "--worker"]
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(_WORLD)]
    workers = [subprocess.Popen([*command, str(rank), *addresses]) for rank in range(_WORLD)]
    codes = [worker.wait() for worker in workers]
    if any(codes):
        sys.exit(f"The workers ended with {codes}.")


if __name__ == "__main__":
    main()
