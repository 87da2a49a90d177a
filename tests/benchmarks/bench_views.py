"""Augmentation drawn afresh in every epoch beside a fixed number of stored views: accuracy and time, from one run.

Each side trains the same head on a frozen EfficientNet-Lite0 with the same augmentation on the emoji pictures; only
`features.views` differs. Each side and seed starts with an empty feature store. Accuracies are of the held-back
drawings of the same vendor and of the other one, by the best epoch; the mean over the seeds, and how far these lie
apart.

Run: python -m tests.benchmarks.bench_views [--seeds 3] [--epochs 20] [--size 96] [--workers 2]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from graftwork.preprocess.image import ImageSpec
from graftwork.progress import SilentReporter
from graftwork.spec.fine_tune_job import FineTuneJob, Scaling
from graftwork_jobs.data.scan import scan_data
from graftwork_jobs.events import read_events
from graftwork_jobs.train.launch import TrainRequest, train
from graftwork_jobs.train.local_ray import start_local_ray
from tests.benchmarks.train_runs import DATA, LITE0

SIDES: tuple[int | None, ...] = (None, 1, 2, 4, 8)
AUGMENT = [{"flip": "horizontal"}, {"rotate": 0.05}, {"zoom": 0.15}, {"contrast": 0.2}]
TESTS = ("test", "other-vendor")


def make_request(folder: Path, views: int | None, seed: int, options: argparse.Namespace) -> TrainRequest:
    """One side's job in a folder of its own."""
    folder.mkdir()
    job = FineTuneJob.model_validate(
        {
            "apiVersion": "graftwork.dev/v1alpha1",
            "kind": "FineTuneJob",
            "metadata": {"name": "views"},
            "spec": {
                "task": "image-classification",
                "backbone": {"path": str(LITE0)},
                "input": {"imageSize": [options.size, options.size]},
                "data": {
                    "train": {"uri": str(DATA / "google-train")},
                    "validation": {"fraction": 0.15},
                    "test": {"uri": str(DATA / "google-test")},
                    "extraTests": [{"name": "other-vendor", "uri": str(DATA / "twitter-test")}],
                },
                "augment": AUGMENT,
                "features": {"views": views},
                "phases": [{"name": "head", "epochs": options.epochs, "learningRate": 1e-3}],
                "training": {"batchSize": 32, "seed": seed},
                "scaling": {"workers": options.workers, "cpusPerWorker": 1},
            },
        }
    )
    scan = scan_data(job.spec.data, base_dir=folder, cache_dir=folder / "cache", seed=seed, reporter=SilentReporter())
    scan.index.save(folder / "index.parquet")
    return TrainRequest(
        job=job,
        base_dir=folder,
        run_dir=folder,
        index_file=folder / "index.parquet",
        input=ImageSpec(height=options.size, width=options.size),
        weights_dir=folder / "weights",
        data_cache_dir=folder / "cache",
        features_dir=folder / "features",
        run_name=folder.name,
    )


def run(request: TrainRequest) -> dict[str, float]:
    """One job's figures."""
    result = train(request, SilentReporter())
    figures = {
        "phase_s": result.timings["phase_head_s"],
        "features_s": sum(
            event["seconds"] for event in read_events(request.events_file) if event["kind"] == "features"
        ),
    }
    for name in TESTS:
        with np.load(result.predictions[name], allow_pickle=False) as stored:
            figures[name] = float((stored["predictions"].argmax(axis=1) == stored["targets"]).mean())
    return figures


def main() -> None:
    """Run all sides in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    found: dict[int | None, list[dict[str, float]]] = {views: [] for views in SIDES}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        with start_local_ray(Scaling(workers=options.workers), log_dir=root / "logs", reporter=SilentReporter()):
            for seed in range(options.seeds):
                for views in SIDES:
                    found[views].append(run(make_request(root / f"seed{seed}-views{views}", views, seed, options)))
    print_table(found, options)


def print_table(found: dict[int | None, list[dict[str, Any]]], options: argparse.Namespace) -> None:
    """One line a side."""
    print(f"{options.epochs} epochs at {options.size} px, {options.workers} workers, {options.seeds} seeds")
    print(
        f"{'views':>6} {'phase s':>8} {'features s':>11} {'fresh / this':>13} {'same vendor':>16} {'other vendor':>16}"
    )
    fresh_s = statistics.mean(figures["phase_s"] for figures in found[None])
    for views, runs in found.items():
        phase_s, features_s = (statistics.mean(each[name] for each in runs) for name in ("phase_s", "features_s"))
        accuracies = [
            f"{statistics.mean(values):.3f} +- {(max(values) - min(values)) / 2:.3f}"
            for values in ([each[name] for each in runs] for name in TESTS)
        ]
        print(
            f"{views or 'fresh':>6} {phase_s:>8.1f} {features_s:>11.1f} {fresh_s / phase_s:>13.2f} "
            f"{accuracies[0]:>16} {accuracies[1]:>16}"
        )


if __name__ == "__main__":
    main()
