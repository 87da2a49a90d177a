"""What `test_jax_engine.py` runs in a process of its own, as Keras has one backend in a process. Prints JSON.

There is no TensorFlow in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import numpy as np

from graftwork.errors import GraftworkError
from graftwork_serving.engine import EngineOptions
from graftwork_serving.jax_engine import JaxEngine

OPTIONS = EngineOptions(threads=2, max_batch_size=16, engine="jax")
PADDING = 0
LENGTHS = (4, 8, 11)
TOKENS = np.array([[3, 5, 7, 11, 2, 0, 0, 0], [1, 2, 3, 4, 5, 6, 7, 8]], np.int32)


class NoTensorFlow(MetaPathFinder):
    """As if it were not installed: an image that serves on GPUs has none."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Refuse to find it."""
        if fullname.partition(".")[0] == "tensorflow":
            raise ModuleNotFoundError(fullname)


def _compilations(engine: JaxEngine) -> int:
    return len(engine._network._programs)


def pictures(folder: Path) -> dict[str, Any]:
    """Scores of pictures in batches of all sizes, from the engine and from Keras."""
    import keras

    given = keras.Input((6, 6, 3))
    inner = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(given))
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


def keras_hub_layers(folder: Path) -> dict[str, Any]:
    """Scores of a KerasHub backbone, from the engine in a process where TensorFlow could be loaded."""
    import keras
    import keras_hub

    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16, max_sequence_length=16
    )
    given = keras.Input((None,), dtype="int32")
    taken = {
        "token_ids": given,
        "padding_mask": keras.ops.cast(keras.ops.not_equal(given, PADDING), "int32"),
        "segment_ids": keras.ops.zeros_like(given),
    }
    # A layer that asks whether TensorFlow computes it.
    scaled = keras.layers.Rescaling(0.5)(backbone(taken)["pooled_output"])
    network = keras.Model(given, keras.layers.Dense(2)(scaled))
    file = folder / "hub.keras"
    network.save(file)
    expected = np.asarray(network(TOKENS, training=False))
    command = [sys.executable, "-m", "tests.unit.serving.jax_engine_run", str(file)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {"difference": float(np.abs(np.array(found["scores"]) - expected).max()), "loaded": found["loaded"]}


def scores_of_keras_hub(file: Path) -> dict[str, Any]:
    """What an engine says of `TOKENS`, and which TensorFlow it loaded for that."""
    engine = JaxEngine(
        file, libraries=["keras", "keras_hub"], lengths=LENGTHS, padding=PADDING, trial=TOKENS[0], options=OPTIONS
    )
    loaded = [name for name in ("tensorflow", "tensorflow_text") if name in sys.modules]
    return {"scores": engine.predict(TOKENS).tolist(), "loaded": loaded}


def bfloat16(folder: Path) -> dict[str, Any]:
    """How far scores are from those in float32, by how they are computed, and the sum of one example's."""
    import keras

    network = keras.saving.load_model(folder / "pictures.keras")
    values = np.random.default_rng(0).integers(0, 256, (16, 6, 6, 3), dtype=np.uint8)
    options = replace(OPTIONS, precision="bfloat16")
    engine = JaxEngine(
        folder / "pictures.keras", libraries=["keras"], lengths=(), padding=0, trial=values[0], options=options
    )
    scores, exact = engine.predict(values), np.asarray(network(values.astype(np.float32), training=False))
    dtypes = {layer.name: layer.compute_dtype for layer in engine._network._model.layers}
    return {
        "difference": float(np.abs(scores - exact).max()),
        "sum_error": float(np.abs(scores.sum(axis=1) - 1).max()),
        "dtypes": sorted((name.rstrip("_0123456789"), dtype) for name, dtype in dtypes.items()),
        "weights": sorted({variable.dtype for variable in engine._network._model.variables}),
    }


def no_gpu(folder: Path) -> str:
    """What an engine says that was promised one."""
    options = EngineOptions(threads=1, max_batch_size=1, engine="jax", on_gpu=True)
    trial = np.zeros((6, 6, 3), np.uint8)
    try:
        JaxEngine(folder / "pictures.keras", libraries=[], lengths=(), padding=0, trial=trial, options=options)
    except GraftworkError as error:
        return f"{type(error).__name__}: {error}"
    return ""


if __name__ == "__main__" and len(sys.argv) > 1:
    sys.stdout.write(json.dumps(scores_of_keras_hub(Path(sys.argv[1]))))
elif __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = "jax"  # noqa: TID251 (the models to compare with are made before any engine)
    sys.meta_path.insert(0, NoTensorFlow())
    with tempfile.TemporaryDirectory() as name:
        runs = (pictures, texts, keras_hub_layers, bfloat16, no_gpu)
        found = {run.__name__: run(Path(name)) for run in runs}
    sys.stdout.write(json.dumps(found))
