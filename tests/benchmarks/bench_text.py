"""Texts per second of fine-tuning a whole BERT: `graft run` beside a plain KerasHub script, one after the other.

Same preset, sentences, batch size, limit of tokens and threads. The plain script fills every text up to the limit, as
KerasHub does; Graftwork fills up to the longest text of a batch. The figure is the best epoch but the first, which also
traces the graph; Graftwork's leaves validation out, as the other's has none.

Run: python -m tests.benchmarks.bench_text PRESET [--texts 192] [--epochs 2] [--max-tokens 128] [--threads 2]
PRESET: a KerasHub preset directory of a BERT with its preprocessor.
The plain script needs tensorflow-text, which Graftwork does not: uv pip install --no-config --no-deps tensorflow-text.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from graftwork.settings import child_environment
from graftwork_jobs.events import read_events

REPOSITORY = Path(__file__).resolve().parents[2]
SENTENCES = REPOSITORY / "examples" / "sentiment"
BATCH = 16


def plain(settings: dict[str, Any], folder: Path) -> float:
    """Texts per second of the plain script."""
    file = folder / "settings.json"
    file.write_text(json.dumps(settings))
    script = REPOSITORY / "tests" / "benchmarks" / "plain_text_script.py"
    done = subprocess.run([sys.executable, str(script), str(file)], check=True, capture_output=True, text=True)
    result = json.loads(done.stdout.rsplit("RESULT ", 1)[1])
    return max(float(speed) for speed in result["speeds"][1:])


def graftwork(settings: dict[str, Any], folder: Path) -> float:
    """Texts per second of the job."""
    job = {
        "apiVersion": "graftwork.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": "bench-text"},
        "spec": {
            "task": "text-classification",
            "backbone": {"path": settings["preset"]},
            "input": {"maxTokens": settings["max_tokens"]},
            "data": {
                "train": {"uri": settings["table"]},
                "validation": {"uri": str(SENTENCES / "test.csv")},
                "test": {"uri": str(SENTENCES / "test.csv")},
            },
            "phases": [{"name": "tune", "epochs": settings["epochs"], "unfreeze": "all", "learningRate": 5e-5}],
            "training": {"batchSize": settings["batch_size"], "seed": 1},
            "scaling": {"workers": 1, "cpusPerWorker": settings["threads"]},
        },
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    home = folder / "home"
    command = [sys.executable, "-c", "from graftwork.cli.main import main; main()", "run", str(folder / "job.yaml")]
    environment = child_environment({"GRAFT_HOME": str(home), "MLFLOW_TRACKING_URI": ""})
    subprocess.run(command, check=True, capture_output=True, env=environment)
    (log,) = (home / "runs" / "bench-text").glob("*/events.jsonl")
    epochs = [event for event in read_events(log) if event["kind"] == "epoch"]
    return max(float(event["images_per_s"]) for event in epochs[1:])


def main() -> None:
    """Print both sides."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("preset", type=Path)
    parser.add_argument("--texts", type=int, default=192)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        table = folder / "train.csv"
        with (SENTENCES / "train.csv").open(encoding="utf-8") as stream:
            table.write_text("".join(islice(stream, options.texts + 1)), encoding="utf-8")
        settings = {
            "preset": str(options.preset.absolute()),
            "table": str(table),
            "max_tokens": options.max_tokens,
            "batch_size": BATCH,
            "epochs": options.epochs,
            "threads": options.threads,
        }
        sides = {}
        for name, side in (("plain KerasHub", plain), ("graft run", graftwork)):
            sides[name] = side(settings, folder)
            print(f"{name:15}{sides[name]:6.1f} texts/s  load {os.getloadavg()[0]:.1f}", flush=True)
        print(f"graft run is {sides['graft run'] / sides['plain KerasHub']:.2f} times as fast")


if __name__ == "__main__":
    main()
