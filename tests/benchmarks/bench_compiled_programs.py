"""What compiling costs on JAX, in a home without compiled programs and in one that has them, from one run.

    python -m tests.benchmarks.bench_compiled_programs [--rounds 2]

Each figure is of a process of its own, on CPU, MobileNetV2 at 96 px:

* serve: the JAX engine is made and ready, with all its programs;
* train: the first step of 64 pictures, all layers train, in a process set up like a worker's.

`empty` starts with an empty folder, `kept` is the next process on the same one. Medians of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from graftwork.settings import child_environment
from tests.benchmarks.bench_serving import ROOT

SIDE, ROWS = 96, 64
NETWORK = f"keras.applications.MobileNetV2(weights=None, input_shape=({SIDE}, {SIDE}, 3), classes=5)"
SERVE = f"""
import sys, time
from pathlib import Path
import numpy as np
from graftwork_serving.engine import EngineOptions
from graftwork_serving.jax_engine import JaxEngine

options = EngineOptions(threads=2, max_batch_size=16, engine="jax")
trial = np.zeros(({SIDE}, {SIDE}, 3), np.uint8)
began = time.perf_counter()
JaxEngine(Path(sys.argv[1]), libraries=["keras"], lengths=(), padding=0, trial=trial, options=options)
print(time.perf_counter() - began)
"""
TRAIN = f"""
import time
from graftwork_jobs.distributed.worker_process import WorkerProcess

WorkerProcess(backend="jax", threads=2).set_up()
import keras, numpy as np

keras.utils.set_random_seed(0)
model = {NETWORK}
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
pictures, classes = np.zeros(({ROWS}, {SIDE}, {SIDE}, 3), "float32"), np.zeros({ROWS}, "int32")
began = time.perf_counter()
model.train_on_batch(pictures, classes)
print(time.perf_counter() - began)
"""
MAKE = f"""
import sys
from graftwork_jobs.keras_setup import set_up_keras

set_up_keras("tensorflow")
import keras

{NETWORK}.save(sys.argv[1])
"""


def run(code: str, home: Path, *arguments: str) -> str:
    """What a program says, in a process of its own."""
    environment = child_environment({"GRAFT_HOME": str(home), "JAX_PLATFORMS": "cpu"})
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return done.stdout


def main() -> None:
    """Print both sides."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    rounds: int = parser.parse_args().rounds
    taken: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "model.keras")
        run(MAKE, Path(folder), model)
        for number in range(rounds):
            for what, code in (("serve", SERVE), ("train", TRAIN)):
                for side in ("empty", "kept"):
                    seconds = float(run(code, Path(folder) / f"{what}-{number}", model).splitlines()[-1])
                    taken.setdefault((what, side), []).append(seconds)
    for what in ("serve", "train"):
        empty, kept = (statistics.median(taken[what, side]) for side in ("empty", "kept"))
        print(f"{what}: {empty:.1f} s in an empty home, {kept:.1f} s with kept programs: {empty / kept:.2f} times")


if __name__ == "__main__":
    main()
