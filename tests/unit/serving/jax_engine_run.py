"""What `test_jax_engine.py` runs in a process of its own, as Keras has one backend in a process. Prints JSON.

There is no TensorFlow in it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from graftwork.errors import GraftworkError
from graftwork_serving.engine import EngineOptions
from graftwork_serving.jax_engine import JaxEngine

OPTIONS = EngineOptions(threads=2, max_batch_size=16, engine="jax")
PADDING = 0
LENGTHS = (4, 8, 11)


def _compilations(engine: JaxEngine) -> int:
    return len(engine._network._programs)


def pictures(folder: Path) -> dict[str, Any]:
    """Scores of pictures in batches of all sizes, from the engine and from Keras."""
    import keras

    given = keras.Input((6, 6, 3))
    inner = keras.layers.Conv2D(4, 3, activation="relu")(given / 255.0)
    network = keras.Model(given, keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(inner)))
    network.save(folder / "pictures.keras")
    trial = np.zeros((6, 6, 3), np.uint8)
    engine = JaxEngine(
        folder / "pictures.keras", libraries=["keras"], lengths=(), padding=0, trial=trial, options=OPTIONS
    )
    compiled = _compilations(engine)
    values = np.random.default_rng(0).integers(0, 256, (37, 6, 6, 3), dtype=np.uint8)
    differences = []
    for rows in range(1, len(values) + 1):
        expected = np.asarray(network(values[:rows].astype(np.float32), training=False))
        differences.append(float(np.abs(engine.predict(values[:rows]) - expected).max()))
    return {"difference": max(differences), "compiled_later": _compilations(engine) - compiled, "name": engine.name}


def texts(folder: Path) -> dict[str, Any]:
    """Scores of token ids in all lengths, filled up to a few."""
    import keras

    given = keras.Input((None,), dtype="int32")
    mask = keras.ops.cast(keras.ops.not_equal(given, PADDING), "float32")[..., None]
    vectors = keras.layers.Embedding(20, 5)(given) * mask
    mean = keras.ops.sum(vectors, axis=1) / keras.ops.sum(mask, axis=1)
    network = keras.Model(given, keras.layers.Dense(2)(mean))
    network.save(folder / "texts.keras")
    engine = JaxEngine(
        folder / "texts.keras",
        libraries=["keras"],
        lengths=LENGTHS,
        padding=PADDING,
        trial=np.ones(8, np.int32),
        options=OPTIONS,
    )
    compiled = _compilations(engine)
    random, differences = np.random.default_rng(0), []
    for length in range(1, LENGTHS[-1] + 1):
        values = random.integers(1, 20, (3, length), dtype=np.int32)
        expected = np.asarray(network(values, training=False))
        differences.append(float(np.abs(engine.predict(values) - expected).max()))
    return {"difference": max(differences), "compiled_later": _compilations(engine) - compiled}


def no_gpu(folder: Path) -> str:
    """What an engine says that was promised one."""
    options = EngineOptions(threads=1, max_batch_size=1, engine="jax", on_gpu=True)
    trial = np.zeros((6, 6, 3), np.uint8)
    try:
        JaxEngine(folder / "pictures.keras", libraries=[], lengths=(), padding=0, trial=trial, options=options)
    except GraftworkError as error:
        return f"{type(error).__name__}: {error}"
    return ""


if __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = "jax"  # noqa: TID251 (the models to compare with are made before any engine)
    # An image that serves on GPUs need not have it.
    sys.modules["tensorflow"] = None  # type: ignore[assignment]  # what makes `import tensorflow` fail
    with tempfile.TemporaryDirectory() as name:
        found = {"pictures": pictures(Path(name)), "texts": texts(Path(name)), "no_gpu": no_gpu(Path(name))}
    sys.stdout.write(json.dumps(found))
