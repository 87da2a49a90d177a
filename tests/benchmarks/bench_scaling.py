"""Images per second of one and of two workers with one thread each: MobileNetV2 from random weights, all layers train.

Both train the same job with the same global batch; the figure is the best epoch but the first, which also traces the
graph. Each run is a process that may use as many cores as it has workers, for decoding pictures too. Alternates the two
`--rounds` times, so that a busy machine disturbs both alike. Needs two idle cores to mean anything: the load printed
with the figures tells.

Run: python -m tests.benchmarks.bench_scaling [--rounds 2] [--size 96] [--epochs 4]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from tests.benchmarks.train_runs import run_on

BATCH = 64


def images_per_s(workers: int, *, size: int, epochs: int, batch_norm: str, folder: Path) -> float:
    """Training speed over all workers, on one core a worker."""
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:workers]))
    spec = {
        "backbone": {"name": "MobileNetV2", "weights": "none"},
        "phases": [{"name": "all", "epochs": epochs, "unfreeze": "all", "learningRate": 1e-3}],
        "training": {"batchSize": BATCH, "batchNorm": batch_norm},
    }
    _, result = run_on(workers, spec, size=size, folder=folder)
    return max(float(record["images_per_s"]) for record in result.history[1:])


def main() -> None:
    """Print both sides."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-norm", choices=["inference", "train"], default="inference")
    options = parser.parse_args()
    best = dict.fromkeys((1, 2), 0.0)
    # Each run in a process of its own, which sets the cores that Ray and the workers started by it may use.
    with (
        tempfile.TemporaryDirectory() as root,
        ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as process,
    ):
        for round_number in range(options.rounds):
            for workers in (1, 2):
                run = partial(
                    images_per_s,
                    size=options.size,
                    epochs=options.epochs,
                    batch_norm=options.batch_norm,
                    folder=Path(root) / f"{round_number}-{workers}",
                )
                speed = process.submit(run, workers).result()
                best[workers] = max(best[workers], speed)
                print(
                    f"round {round_number + 1}  {workers} workers  {speed:.1f} images/s  load {os.getloadavg()[0]:.1f}"
                )
    print(f"best: 1 worker {best[1]:.1f}, 2 workers {best[2]:.1f} images/s: {best[2] / best[1]:.2f} times")


if __name__ == "__main__":
    main()
