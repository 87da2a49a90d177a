"""A small network exported as it is, and as it is exported when it averages over mirror images."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import keras
import numpy as np
from numpy.typing import NDArray

from graftwork.spec.fine_tune_job import Mirror
from graftwork_jobs.export.engines import export_openvino
from graftwork_jobs.model.mirror import averaging_mirrored

PICTURES: Final = np.random.default_rng(1).integers(0, 256, (5, 12, 10, 3)).astype(np.uint8)
# Height and width are 1 and 2.
TURNS: Final[dict[Mirror, tuple[tuple[int, ...], ...]]] = {
    "horizontal": ((), (2,)),
    "vertical": ((), (1,)),
    "both": ((), (1,), (2,), (1, 2)),
}


def versions(pictures: NDArray[np.uint8], mirror: Mirror) -> list[NDArray[np.uint8]]:
    """The pictures as they are, then their mirror images."""
    return [np.flip(pictures, turn) for turn in TURNS[mirror]]


def exported(file: Path, mirror: Mirror | None) -> Path:
    """A convolution, average pooling, a linear layer and softmax over 3 labels; always with the same weights."""
    keras.utils.set_random_seed(5)
    given = keras.Input((12, 10, 3), name="image")
    maps = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(keras.layers.Rescaling(1 / 255)(given))
    pooled = keras.layers.GlobalAveragePooling2D()(maps)
    logits = keras.layers.Dense(3, kernel_initializer="random_normal", bias_initializer="random_normal")(pooled)
    model = keras.Model(given, keras.layers.Softmax(name="scores")(logits), name="classifier")
    export_openvino(model if mirror is None else averaging_mirrored(model, mirror), file)
    return file
