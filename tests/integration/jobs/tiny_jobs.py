"""Pictures in class folders, a backbone of two convolutions and specs that train on them in seconds."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

CLASSES = ("blue", "green", "red")
PICTURES_A_CLASS = 12
SIDE = 16

_SPEC: dict[str, Any] = {
    "task": "image-classification",
    "backbone": {"path": "tiny.keras"},
    "data": {"train": {"uri": "pictures"}, "validation": {"fraction": 0.25}, "test": {"fraction": 0.25}},
    "augment": [{"flip": "horizontal"}],
    "head": {"dropout": 0.2},
    "phases": [
        {"name": "head", "epochs": 12, "unfreeze": "none", "learningRate": 0.01},
        {"name": "tune", "epochs": 20, "unfreeze": {"fromLayer": "conv1"}, "learningRate": 0.003},
    ],
    "training": {"batchSize": 4, "seed": 5},
    "register": {"model": "tiny"},
}


def write_pictures(folder: Path, *, seed: int = 0) -> None:
    """Noise with a little more of the colour that names the class."""
    random = np.random.default_rng(seed)
    for channel, name in zip((2, 1, 0), CLASSES, strict=True):
        (folder / name).mkdir(parents=True)
        for number in range(PICTURES_A_CLASS):
            pixels = random.integers(0, 190, (SIDE, SIDE, 3), dtype=np.uint8)
            pixels[..., channel] += 40
            Image.fromarray(pixels).save(folder / name / f"{number:02d}.png")


def write_job(work: Path, name: str, **spec: Any) -> str:
    """Write a job spec file.

    Args:
        work: folder with the pictures and the backbone.
        name: of the job.
        spec: replaces sections of the spec.

    Returns:
        The file's name.
    """
    content = {
        "apiVersion": "graftwork.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": name},
        "spec": {**copy.deepcopy(_SPEC), **spec},
    }
    file = work / f"{name}.yaml"
    file.write_text(yaml.safe_dump(content))
    return file.name


def spoil(work: Path, name: str) -> str:
    """A copy of the pictures with one of each mistake; the name of its folder."""
    folder = work / name
    shutil.copytree(work / "pictures", folder)
    (folder / "red" / "letter.jpg").write_bytes(b"%PDF-1.4\n")
    (folder / "nothing").mkdir()
    (folder / "lonely").mkdir()
    shutil.copy(work / "pictures" / "red" / "00.png", folder / "lonely" / "00.png")
    return name
