"""Jobs small enough to train in seconds: pictures of coloured noise and a backbone of two convolutions."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from graftwork.preprocess.image import ImageSpec
from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork_jobs.data.index import DatasetIndex, Split
from graftwork_jobs.train.request import TrainRequest

_SIDE = 16
_CLASSES = ("red", "green", "blue")
# Odd sizes: no number of workers divides them. Counts fall from class to class, so that class weights matter.
_SIZES = {"train": 53, "validation": 19, "test": 17, "elsewhere": 11}

EVERY_EPOCH = {"checkpointEverySeconds": 1e-6}
"""A checkpoint after each epoch, however short."""

PHASES = (
    {"name": "head", "epochs": 3, "unfreeze": "none", "learningRate": 0.01},
    {"name": "tune", "epochs": 3, "unfreeze": "all", "learningRate": 0.003},
)

EVERYTHING_AT_ONCE: dict[str, Any] = {
    "batchSize": 14,
    "gradientAccumulation": 2,
    "gradientClipNorm": 0.5,
    "classWeights": "balanced",
    "labelSmoothing": 0.1,
    "loss": {"focal": {"gamma": 1.5}},
    "ema": {"decay": 0.9},
    "layerDecay": 0.7,
    "weightDecay": 0.01,
    "optimizer": "adamw",
    "batchNorm": "train",
    "seed": 5,
}
"""A `training` section with all that might depend on the number of workers."""


@dataclass(frozen=True, kw_only=True)
class SmallData:
    """Pictures, their index and a backbone, shared by the jobs of a test run."""

    root: Path
    index_file: Path
    backbone: Path

    @classmethod
    def at(cls, root: Path) -> SmallData:
        """The data that `make_small_data` wrote below a folder."""
        return cls(root=root, index_file=root / "index.parquet", backbone=root / "tiny.keras")


def make_small_data(root: Path) -> SmallData:
    """Write pictures, index and backbone."""
    random = np.random.default_rng(0)
    splits = {name: _split(root / "pictures" / name, name, size, random) for name, size in _SIZES.items()}
    data = SmallData.at(root)
    DatasetIndex(labels=_CLASSES, splits=splits).save(data.index_file)
    save_small_backbone(data.backbone, side=_SIDE)
    return data


def save_small_backbone(file: Path, *, side: int) -> None:
    """Save two convolutions with BatchNorm, layers `conv0` to `relu1`, as a `.keras` file."""
    # A process of its own: the tests' must not load TensorFlow, the workers do.
    subprocess.run([sys.executable, "-c", _MAKE_BACKBONE, str(file), str(side)], check=True, capture_output=True)


_MAKE_BACKBONE = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
import keras
keras.utils.set_random_seed(3)
side = int(sys.argv[2])
layers = [keras.Input((side, side, 3)), keras.layers.Rescaling(1 / 127.5, -1)]
for number, filters in enumerate((6, 10)):
    layers.append(keras.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False, name=f"conv{number}"))
    layers.append(keras.layers.BatchNormalization(momentum=0.8, name=f"bn{number}"))
    layers.append(keras.layers.ReLU(name=f"relu{number}"))
keras.Sequential(layers).save(sys.argv[1])
"""


def _split(folder: Path, name: str, size: int, random: np.random.Generator) -> Split:
    folder.mkdir(parents=True)
    labels = np.minimum(random.geometric(0.5, size) - 1, len(_CLASSES) - 1).astype(np.int32)
    labels[: len(_CLASSES)] = range(len(_CLASSES))
    uris, digests = [], []
    for row, label in enumerate(labels):
        pixels = random.integers(0, 190, (_SIDE, _SIDE, 3))
        pixels[..., label] += 40
        path = folder / f"{row:03d}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(path)
        uris.append(str(path))
        digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
    return Split(name=name, inputs=tuple(uris), targets=labels, digests=tuple(digests))


def small_request(data: SmallData, run_dir: Path, /, *, workers: int = 1, **spec: Any) -> TrainRequest:
    """A request to train on the small data.

    Args:
        data: from `make_small_data`.
        run_dir: the run's folder; made here.
        workers: how many.
        spec: replaces or adds parts of the job's spec.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    job = FineTuneJob.model_validate(
        {
            "apiVersion": "graftwork.dev/v1alpha1",
            "kind": "FineTuneJob",
            "metadata": {"name": "small"},
            "spec": {
                "task": "image-classification",
                "backbone": {"path": str(data.backbone)},
                "data": {"train": {"uri": str(data.root / "pictures")}},
                "phases": list(PHASES),
                "training": {"batchSize": 16, "seed": 5},
                "scaling": {"workers": workers, **EVERY_EPOCH},
                **spec,
            },
        }
    )
    return TrainRequest(
        job=job,
        base_dir=data.root,
        run_dir=run_dir,
        index_file=data.index_file,
        input=ImageSpec(height=_SIDE, width=_SIDE),
        weights_dir=data.root / "weights",
        data_cache_dir=data.root / "cache",
        features_dir=data.root / "features",
        run_name=run_dir.name,
    )


def scores_of(request: TrainRequest, split: str = "test") -> np.ndarray:
    """Predicted probabilities of a finished run, shape (n, classes)."""
    with np.load(request.predictions_dir / f"{split}.npz", allow_pickle=False) as stored:
        return np.asarray(stored["predictions"])


def history_of(request: TrainRequest) -> list[dict[str, Any]]:
    """Figures of every epoch of a finished run."""
    history: list[dict[str, Any]] = json.loads(request.result_file.read_text())["history"]
    return history


def weights_of(request: TrainRequest) -> dict[str, np.ndarray]:
    """Final weights of a finished run, by their place in the file."""
    import h5py

    found: dict[str, np.ndarray] = {}
    with h5py.File(request.weights_file) as stored:
        stored.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


# Enough epochs that a signal sent after the first hits one of the others.
RECOVERY: dict[str, Any] = {
    "phases": [
        {**PHASES[0], "epochs": 40},
        {**PHASES[1], "epochs": 40, "unfreeze": {"gradually": {"oneBlockEvery": 15}}},
    ],
    "augment": [{"flip": "horizontal"}],
    "head": {"dropout": 0.3},
    "training": {
        "batchSize": 16,
        "batchNorm": "train",
        "gradientAccumulation": 2,
        "ema": {"decay": 0.9},
        "layerDecay": 0.7,
        "seed": 5,
    },
}
"""A job whose every kind of state must survive: dropout seeds, moving statistics, accumulators, optimizer moments,
averaged weights."""
