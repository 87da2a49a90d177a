"""A whole job beside the plain Keras script a user would write: wall time and test accuracies, both from this run.

The same pictures, backbone, picture size, phases, learning rates, batch size and cores on both sides, in turn,
`--rounds` times. Graftwork's time is that of the whole `graft run` command: planning, two Ray Train workers, testing,
report, bundle, registration. The script's time is that of its process; it only trains and evaluates.

Run: python tests/benchmarks/bench_job.py [--rounds 3] [--size 96]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from graftwork.settings import child_environment

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY / "examples" / "emoji10"
BACKBONE = REPOSITORY / "examples" / "efficientnet_lite0" / "efficientnet_lite0.keras"
OUTPUT_LAYER = "head_relu"
UNFREEZE_FROM = "block5a_dwconv"
PHASES = (
    {"name": "head", "epochs": 15, "learning_rate": 1e-3, "unfreeze_from": None},
    {"name": "tune", "epochs": 5, "learning_rate": 1e-4, "unfreeze_from": UNFREEZE_FROM},
)


def job_spec(size: int, workers: int) -> dict[str, Any]:
    """The job as a spec."""
    return {
        "apiVersion": "graftwork.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": "bench"},
        "spec": {
            "task": "image-classification",
            "backbone": {"path": str(BACKBONE)},
            "input": {"imageSize": [size, size]},
            "data": {
                "train": {"uri": str(DATA / "google-train")},
                "validation": {"fraction": 0.15},
                "test": {"uri": str(DATA / "google-test")},
                "extraTests": [{"name": "twitter", "uri": str(DATA / "twitter-test")}],
            },
            "phases": [
                {
                    "name": phase["name"],
                    "epochs": phase["epochs"],
                    "learningRate": phase["learning_rate"],
                    "unfreeze": {"fromLayer": phase["unfreeze_from"]} if phase["unfreeze_from"] else "none",
                }
                for phase in PHASES
            ],
            "training": {"batchSize": 32, "seed": 7},
            "scaling": {"workers": workers},
            "register": {"model": "bench"},
        },
    }


def script_settings(size: int) -> dict[str, Any]:
    """The job as settings of the plain script."""
    return {
        "size": size,
        "batch_size": 32,
        "seed": 7,
        "backbone": str(BACKBONE),
        "output_layer": OUTPUT_LAYER,
        "train": str(DATA / "google-train"),
        "tests": [str(DATA / "google-test"), str(DATA / "twitter-test")],
        "phases": PHASES,
    }


def run_graft(folder: Path, size: int, workers: int) -> dict[str, Any]:
    """One `graft run` in an empty home."""
    spec = folder / "job.yaml"
    spec.write_text(yaml.safe_dump(job_spec(size, workers)))
    started = time.perf_counter()
    done = subprocess.run(
        [Path(sys.executable).with_name("graft"), "run", "-o", "json", spec],
        env=child_environment({"GRAFT_HOME": str(folder / "home")}),
        stdout=subprocess.PIPE,
        stderr=sys.stderr,
        check=True,
    )
    outcome = json.loads(done.stdout)
    return {
        "wall_s": time.perf_counter() - started,
        "same": outcome["metrics"]["accuracy"],
        "other": outcome["extra_metrics"]["twitter"]["accuracy"],
    }


def run_script(folder: Path, size: int) -> dict[str, Any]:
    """One run of the plain script."""
    settings = folder / "settings.json"
    settings.write_text(json.dumps(script_settings(size)))
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("plain_keras_script.py"), settings],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    same, other = json.loads(line.removeprefix("RESULT "))["accuracies"]
    return {"wall_s": time.perf_counter() - started, "same": same, "other": other}


def main() -> None:
    """Run both sides in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    sides: dict[str, list[dict[str, Any]]] = {"graft run": [], "plain Keras script": []}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            sides["graft run"].append(run_graft(Path(folder), options.size, options.workers))
            sides["plain Keras script"].append(run_script(Path(folder), options.size))
    print(f"{'side':20} {'wall s (median, min-max)':>28} {'same vendor':>12} {'other vendor':>13}")
    for side, results in sides.items():
        walls = [result["wall_s"] for result in results]
        same, other = (statistics.median(result[key] for result in results) for key in ("same", "other"))
        spread = f"{statistics.median(walls):.1f} ({min(walls):.1f}-{max(walls):.1f})"
        print(f"{side:20} {spread:>28} {same:>12.3f} {other:>13.3f}")


if __name__ == "__main__":
    main()
