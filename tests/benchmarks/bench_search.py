"""A search of 16 trials over head settings beside one plain run of the same job: wall time, both from this run.

Both are whole `graft run` commands in a home of their own: planning, Ray, training, testing, report, bundle,
registration. The search ends with the best trial trained as the job, so its time holds a plain run.

Run: python tests/benchmarks/bench_search.py [--trials 16] [--size 160] [--epochs 20]
"""

from __future__ import annotations

import argparse
import json
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


def job_spec(size: int, epochs: int, search: dict[str, Any] | None) -> dict[str, Any]:
    """The job, with or without a search."""
    spec = {
        "task": "image-classification",
        "backbone": {"path": str(BACKBONE)},
        "input": {"imageSize": [size, size]},
        "data": {
            "train": {"uri": str(DATA / "google-train")},
            "validation": {"fraction": 0.15},
            "test": {"uri": str(DATA / "google-test")},
        },
        "phases": [{"name": "head", "epochs": epochs, "learningRate": 0.003, "schedule": "cosine"}],
        "training": {"batchSize": 32, "seed": 7},
        "register": {"model": "bench"},
    }
    if search is not None:
        spec["search"] = search
    return {
        "apiVersion": "graftwork.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": "bench"},
        "spec": spec,
    }


def run(folder: Path, spec: dict[str, Any]) -> dict[str, Any]:
    """One `graft run` in an empty home."""
    folder.mkdir()
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump(spec))
    started = time.perf_counter()
    done = subprocess.run(
        [Path(sys.executable).with_name("graft"), "run", "-o", "json", file],
        env=child_environment({"GRAFT_HOME": str(folder / "home")}),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    outcome = json.loads(done.stdout)
    trials = [json.loads(path.read_text()) for path in sorted(folder.glob("home/runs/*/*/trials/[0-9]*.json"))]
    return {
        "wall_s": time.perf_counter() - started,
        "accuracy": outcome["metrics"]["accuracy"],
        "trials": len(trials),
        "trials_s": max((trial["until_s"] for trial in trials), default=0.0),
    }


def main() -> None:
    """Run both sides in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    space = {
        "phases.head.learningRate": {"logUniform": [3e-4, 3e-2]},
        "head.dropout": {"choice": [0, 0.2, 0.5]},
        "head.hidden": {"choice": [[], [64]]},
    }
    sides = {
        "plain run": None,
        "search, asha": {"space": space, "trials": options.trials},
        "search, every trial to its end": {"space": space, "trials": options.trials, "scheduler": "none"},
    }
    print(
        f"{'side':32} {'wall s':>8} {'trials':>7} {'trials s':>9} {'plain runs':>11} {'test accuracy':>14}", flush=True
    )
    plain_s = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for number, (side, search) in enumerate(sides.items()):
            figures = run(Path(folder) / str(number), job_spec(options.size, options.epochs, search))
            plain_s = plain_s or figures["wall_s"]
            print(
                f"{side:32} {figures['wall_s']:>8.1f} {figures['trials']:>7} {figures['trials_s']:>9.1f} "
                f"{figures['wall_s'] / plain_s:>11.2f} {figures['accuracy']:>14.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
