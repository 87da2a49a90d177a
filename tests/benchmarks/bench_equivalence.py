"""One worker beside two on a real job: largest difference of weights and predictions, and both rows of metrics.

EfficientNet-Lite0 with ImageNet weights on the example pictures: a phase with a frozen backbone and one with its last
third unfrozen, with augmentation, dropout, class weights, accumulation and clipping.

Run: python -m tests.benchmarks.bench_equivalence [--size 64] [--epochs 2]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.benchmarks.train_runs import LITE0, run_on


def job(epochs: int) -> dict[str, Any]:
    """Everything that could depend on the number of workers, switched on."""
    return {
        "backbone": {"path": str(LITE0), "outputLayer": "head_relu"},
        "head": {"dropout": 0.2},
        "augment": [{"flip": "horizontal"}, {"rotate": 0.05}],
        "phases": [
            {"name": "head", "epochs": epochs, "unfreeze": "none", "learningRate": 1e-3},
            {"name": "tune", "epochs": epochs, "unfreeze": {"fraction": 0.3}, "learningRate": 1e-4},
        ],
        "training": {
            "batchSize": 32,
            "gradientAccumulation": 2,
            "gradientClipNorm": 1.0,
            "classWeights": "balanced",
            "batchNorm": "train",
            "seed": 1,
        },
    }


def weights(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a weights file."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as stored:
        stored.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def main() -> None:
    """Print both sides and their differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        results = [
            run_on(workers, job(options.epochs), size=options.size, folder=Path(root) / str(workers))[1]
            for workers in (1, 2)
        ]
        one, two = (weights(result.weights_file) for result in results)
        scores = [np.load(result.predictions["test"], allow_pickle=False)["predictions"] for result in results]
    for records in zip(*(result.history for result in results), strict=True):
        for workers, record in zip((1, 2), records, strict=True):
            figures = "  ".join(
                f"{name} {record[name]:.6f}" for name in ("loss", "accuracy", "val_loss", "val_accuracy")
            )
            print(f"{record['phase']:5} epoch {record['epoch']}  {workers} worker(s)  {figures}")
    difference = {name: float(np.max(np.abs(one[name].astype(float) - two[name]), initial=0.0)) for name in one}
    worst = max(difference, key=lambda name: difference[name])
    largest = float(np.max(np.abs(one[worst])))
    print(f"largest difference of a weight: {difference[worst]:.2e} of {largest:.3g} ({worst}, {len(one)} arrays)")
    shares = {name: difference[name] / float(np.max(np.abs(one[name]), initial=1e-6)) for name in one}
    worst = max(shares, key=lambda name: shares[name])
    print(f"largest share of an array's largest weight: {shares[worst]:.2e} ({worst})")
    print(f"largest difference of a predicted probability: {np.abs(scores[0] - scores[1]).max():.2e}")


if __name__ == "__main__":
    main()
