"""A job beside the plain Keras script: what computing the frozen trunk once is worth, both from this run.

By default a head phase; `--tune 10` adds a phase of ten epochs that trains the last third of the layers.

The same 2,000 pictures, backbone, picture size, epochs, learning rate, batch size and cores on both sides. Graftwork
trains twice: with an empty feature store (each picture goes through the trunk once), and as a second job with the store
of the first. Wall time is that of `train`, worker processes' start and the scoring of a test set included, and that of
the script's process; Ray's start and the scan of the data are no part of it, Ray's start is reported apart. Phase time
leaves out the start of processes: features, preflight and epochs of all phases here, loading, building and `fit`
there. What the phases promise is told in phase time, as a library's import and Ray's start are not theirs.

The pictures are crops of the example pictures at known places, so no two are the same. Crops of one picture can fall
on both sides of the validation split: the accuracies show that both sides learn the same, not how good they are.

Run: python -m tests.benchmarks.bench_features [--pictures 2000] [--epochs 10] [--tune 0] [--size 96] [--workers 2]
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from graftwork.preprocess.image import ImageSpec
from graftwork.progress import SilentReporter
from graftwork.settings import child_environment
from graftwork.spec.fine_tune_job import FineTuneJob, Scaling
from graftwork_jobs.data.scan import scan_data
from graftwork_jobs.events import read_events
from graftwork_jobs.train.launch import TrainRequest, train
from graftwork_jobs.train.local_ray import start_local_ray
from tests.benchmarks.train_runs import DATA, LITE0

LEARNING_RATE = 1e-3
TUNE_RATE = 1e-4
# Two thirds of the backbone's layers lie below.
LAST_THIRD = "block6a_expand_conv"
BATCH_SIZE = 32
SEED = 7
VALIDATION_SHARE = 0.15


def write_pictures(folder: Path, count: int) -> None:
    """That many different crops of the example pictures, one sub-folder a class."""
    # By name, which mixes the classes.
    sources = sorted((DATA / "google-train").glob("*/*.png"), key=lambda path: (path.name, path))
    for number, (path, corner) in enumerate(itertools.islice(_crops(sources), count)):
        with Image.open(path) as picture:
            rgb = Image.new("RGB", picture.size, "white")
            rgba = picture.convert("RGBA")
            rgb.paste(rgba, mask=rgba)
        side = min(rgb.size) * 7 // 8
        target = folder / path.parent.name / f"{number:05d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        rgb.crop((*corner, corner[0] + side, corner[1] + side)).save(target)


def _crops(sources: list[Path]) -> Iterator[tuple[Path, tuple[int, int]]]:
    """Each picture with one corner, then each with the next."""
    for left, top in itertools.product(range(0, 9, 2), repeat=2):
        for path in sources:
            yield path, (left, top)


def phases(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The phases as the plain script takes them."""
    head = {"name": "head", "epochs": options.epochs, "learning_rate": LEARNING_RATE, "unfreeze_from": None}
    tune = {"name": "tune", "epochs": options.tune, "learning_rate": TUNE_RATE, "unfreeze_from": LAST_THIRD}
    return [head, tune] if options.tune else [head]


def make_request(
    pictures: Path, folder: Path, store: Path, options: argparse.Namespace, *, backend: str = "tensorflow"
) -> TrainRequest:
    """The job, its data scanned, in a folder of its own."""
    folder.mkdir()
    job = FineTuneJob.model_validate(
        {
            "apiVersion": "graftwork.dev/v1alpha1",
            "kind": "FineTuneJob",
            "metadata": {"name": "bench"},
            "spec": {
                "task": "image-classification",
                "backbone": {"path": str(LITE0)},
                "input": {"imageSize": [options.size, options.size]},
                "data": {
                    "train": {"uri": str(pictures)},
                    "validation": {"fraction": VALIDATION_SHARE},
                    "test": {"uri": str(DATA / "google-test")},
                },
                "phases": [
                    {
                        "name": phase["name"],
                        "epochs": phase["epochs"],
                        "learningRate": phase["learning_rate"],
                        "unfreeze": {"fromLayer": phase["unfreeze_from"]} if phase["unfreeze_from"] else "none",
                    }
                    for phase in phases(options)
                ],
                "training": {"batchSize": BATCH_SIZE, "seed": SEED, "backend": backend},
                "scaling": {"workers": options.workers, "cpusPerWorker": 1},
            },
        }
    )
    scan = scan_data(job.spec.data, base_dir=folder, cache_dir=folder / "cache", seed=SEED, reporter=SilentReporter())
    scan.index.save(folder / "index.parquet")
    return TrainRequest(
        job=job,
        base_dir=folder,
        run_dir=folder,
        index_file=folder / "index.parquet",
        input=ImageSpec(height=options.size, width=options.size),
        weights_dir=folder / "weights",
        data_cache_dir=folder / "cache",
        features_dir=store,
        run_name=folder.name,
    )


def run_graft(requests: list[TrainRequest], folder: Path, workers: int) -> tuple[float, list[dict[str, Any]]]:
    """The jobs one after another on one Ray; seconds that Ray took to start, and each job's figures."""
    began = time.perf_counter()
    with start_local_ray(Scaling(workers=workers), log_dir=folder / "logs", reporter=SilentReporter()):
        ray_s = time.perf_counter() - began
        return ray_s, [_timed_train(request) for request in requests]


def _timed_train(request: TrainRequest) -> dict[str, Any]:
    began = time.perf_counter()
    result = train(request, SilentReporter())
    found = [event for event in read_events(request.events_file) if event["kind"] == "features"]
    return {
        "wall_s": time.perf_counter() - began,
        "phase_s": sum(seconds for name, seconds in result.timings.items() if name.startswith("phase_")),
        "phases_s": [seconds for name, seconds in result.timings.items() if name.startswith("phase_")],
        "epochs_s": [record["seconds"] for record in result.history],
        "features_s": sum(event["seconds"] for event in found),
        "hits": [event["hit"] for event in found],
        "accuracy": max(record["val_accuracy"] for record in result.history),
    }


def run_script(
    pictures: Path, folder: Path, options: argparse.Namespace, *, backend: str = "tensorflow"
) -> dict[str, Any]:
    """One run of the plain script."""
    settings = folder / "settings.json"
    settings.write_text(
        json.dumps(
            {
                "size": options.size,
                "batch_size": BATCH_SIZE,
                "seed": SEED,
                "backbone": str(LITE0),
                "output_layer": "head_relu",
                "train": str(pictures),
                "tests": [],
                "phases": phases(options),
            }
        )
    )
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("plain_keras_script.py"), settings],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        env=child_environment({"KERAS_BACKEND": backend}),
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    result = json.loads(line.removeprefix("RESULT "))
    return {
        "wall_s": time.perf_counter() - began,
        "phase_s": result["trained_s"],
        "phases_s": result["phases_s"],
        "accuracy": max(result["validation_accuracies"]),
    }


def main() -> None:
    """Run both sides and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--tune", type=int, default=0)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder / "pictures", options.pictures)
        requests = [
            make_request(folder / "pictures", folder / run, folder / "features", options) for run in ("first", "second")
        ]
        script = run_script(folder / "pictures", folder, options)
        ray_s, (first, second) = run_graft(requests, folder, options.workers)
    if any(first["hits"]) or not all(second["hits"]) or not second["hits"]:
        raise SystemExit(f"the store was not used as planned: {first['hits']}, then {second['hits']}")
    epochs = f"{options.epochs} + {options.tune}" if options.tune else f"{options.epochs}"
    print(f"{options.pictures} pictures of {options.size} px, {epochs} epochs; Ray started in {ray_s:.1f} s")
    print(
        f"{'side':24} {'wall s':>8} {'phase s':>8} {'features s':>11} {'script / this':>14} {'in phases':>10} "
        f"{'best val. acc.':>15}"
    )
    for side, figures in (
        ("plain Keras script", script),
        ("graft, empty store", first),
        ("graft, second job", second),
    ):
        ratio, phase_ratio = (script[name] / figures[name] for name in ("wall_s", "phase_s"))
        print(
            f"{side:24} {figures['wall_s']:>8.1f} {figures['phase_s']:>8.1f} {figures.get('features_s', 0):>11.1f} "
            f"{ratio:>14.2f} {phase_ratio:>10.2f} {figures['accuracy']:>15.3f}"
        )


if __name__ == "__main__":
    main()
