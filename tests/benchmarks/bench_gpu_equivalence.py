"""A few steps on a GPU beside the same on CPU, of Graftwork and of plain Keras on JAX; and what the preflight says.

GPUs multiply float32 with 10 bits of mantissa (TF32) unless told otherwise, and add in another order: `gpu-exact` is
the GPU with `JAX_DEFAULT_MATMUL_PRECISION=highest`. A difference is that of all weights after the steps, as a share of
what the steps on CPU changed: root of the sum of squares on both.

The preflight compares the compiled step with gradients that another program computes by parts of the batch, here on one
worker: what it finds is rounding; from 1 on it would refuse.

Run: python -m tests.benchmarks.bench_gpu_equivalence [--size 96] [--batch 16] [--steps 4] [--devices cpu gpu gpu-exact]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENVIRONMENTS = {
    "cpu": {"JAX_PLATFORMS": "cpu"},
    "gpu": {"JAX_PLATFORMS": "cuda"},
    "gpu-exact": {"JAX_PLATFORMS": "cuda", "JAX_DEFAULT_MATMUL_PRECISION": "highest"},
}
PREFLIGHTS = (
    ("lite0", 0.3, "inference", "float32"),
    ("lite0", 0.3, "inference", "mixed_bfloat16"),
    ("lite0", 1.0, "train", "float32"),
    ("ResNet50", 1.0, "train", "float32"),
)


def main() -> None:
    """Run all devices and print their differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--devices", nargs="+", choices=list(ENVIRONMENTS), default=list(ENVIRONMENTS))
    parser.add_argument("--preflight", nargs="*", choices=list(ENVIRONMENTS), default=["gpu"])
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_child(options)
        return
    found = run_all(options)
    print(f"{'side':26} {'mean loss':>10} {'difference from graft, cpu':>28}")
    start, end = found["cpu", "start"], found["cpu", "graft"]
    for (device, side), weights in found.items():
        if side != "start":
            print(f"{f'{side}, {device}':26} {weights[-1][0]:>10.5f} {difference(weights, end, start):>28.2e}")


def run_all(options: argparse.Namespace) -> dict[tuple[str, str], list[NDArray[Any]]]:
    """Weights by device and side, each with the mean loss behind them."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        children = {}
        for device in options.devices:
            file = Path(folder) / f"{device}.npz"
            command = [sys.executable, "-m", "tests.benchmarks.bench_gpu_equivalence", "--child", str(file)]
            command += [f"--{name}={getattr(options, name)}" for name in ("size", "batch", "steps")]
            command += ["--preflight", *(["gpu"] if device in options.preflight else [])]
            environment = {**os.environ, **ENVIRONMENTS[device], "KERAS_BACKEND": "jax"}  # noqa: TID251 (handed on)
            children[device] = file, subprocess.Popen(command, env=environment)
            if device != "cpu":
                # One process at a time has the GPU's memory; the CPU's goes on beside it.
                children[device][1].wait()
        for device, (file, process) in children.items():
            if process.wait():
                raise SystemExit(f"the process on {device} failed")
            with np.load(file) as stored:
                for side in ("start", "graft", "plain"):
                    names = sorted(name for name in stored.files if name.startswith(f"{side}-"))
                    found[device, side] = [stored[name] for name in names]
    return found


def difference(weights: list[NDArray[Any]], expected: list[NDArray[Any]], start: list[NDArray[Any]]) -> float:
    """As a share of what the steps changed; the last array is the loss."""
    pairs = zip(weights[:-1], expected[:-1], start[:-1], strict=True)
    gap, way = np.array([[((a - b) ** 2).sum(), ((b - c) ** 2).sum()] for a, b, c in pairs]).sum(axis=0)
    return float(np.sqrt(gap / way))


def run_child(options: argparse.Namespace) -> None:
    """Both sides on the device that the environment names; writes their weights."""
    from tests.benchmarks.step_sides import Case, GraftSide, PlainSide, make_batches

    case = Case(
        network="lite0",
        unfreeze=0.3,
        precision="float32",
        size=options.size,
        batch=options.batch,
        optimizer="sgd",
    )
    pictures = make_batches((case.size, case.size, 3), case.batch, count=options.steps, largest=255)
    arrays: dict[str, Any] = {}
    graft = GraftSide(case)
    kept: dict[str, list[NDArray[Any]]] = {"start": [*graft.weights(), np.zeros(1)]}
    sides: dict[str, Any] = {"graft": graft, "plain": PlainSide(case)}
    for name, side in sides.items():
        loss = side.run(pictures, options.steps)
        kept[name] = [*side.weights(), np.array([loss])]
    for name, weights in kept.items():
        arrays |= {f"{name}-{number:04d}": each for number, each in enumerate(weights)}
    np.savez(options.child, **arrays)
    if options.preflight:
        for setting in PREFLIGHTS:
            print(json.dumps(preflighted(*setting, options)), flush=True)


def preflighted(
    network: str, unfreeze: float, batch_norm: str, precision: str, options: argparse.Namespace
) -> dict[str, Any]:
    """What the preflight says of one worker."""
    from graftwork.errors import PermanentError
    from graftwork_jobs.distributed.jax_collectives import JaxCollectives
    from graftwork_jobs.train.preflight import Subject, preflight
    from tests.benchmarks.step_sides import Batches, Case, GraftSide, make_batches

    case = Case(
        network=network,
        unfreeze=unfreeze,
        precision=precision,
        size=options.size,
        batch=options.batch,
        batch_norm=batch_norm,
    )
    pictures = make_batches((case.size, case.size, 3), case.batch, count=2, largest=255)
    side = GraftSide(case, watched=True)
    batches: Any = Batches(pictures, 2)
    subject = Subject(
        phase="phase",
        steps=side.steps,
        model=side.model,
        variables=side.network.model.variables,
        optimizer=side.optimizer,
        together=batches,
        by_one=batches,
        pieces=1,
        rows_per_worker=case.batch // 2,
        whole=side.network.batch_norm_training,
    )
    began = time.perf_counter()
    told = {"network": network, "unfreeze": unfreeze, "batch_norm": batch_norm, "precision": precision}
    try:
        passed = preflight(subject, JaxCollectives(rank=0, world=1), updates=2)
    except PermanentError as error:
        return {**told, "refused": str(error)}
    return {**told, "share_of_rounding": round(passed.largest, 4), "seconds": round(time.perf_counter() - began, 1)}


if __name__ == "__main__":
    main()
