"""Passes of the JAX engine by precision and batch size, compilation beside them; all from one run.

    python -m tests.benchmarks.bench_gpu_engine [--networks lite0 resnet50 bert] [--sizes 1 16 64] [--device gpu]

Sides: `float32` and `bfloat16` as endpoints compute (`precision`), and `TF32`, what a GPU would do with float32 by
itself. A pass starts with a batch in this machine's memory (pictures of 224 px, or 128 tokens) and ends with scores
there; medians. `compile s` is what a replica waits for one batch size while it starts without kept programs. `from
float32` is the largest difference of a score. Networks other than lite0 have random weights.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graftwork_serving.engine import EngineOptions
from tests.benchmarks.bench_serving import MODEL_DIR

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDES = ("float32", "TF32", "bfloat16")
PASSES, SECONDS = 20, 0.4


def main() -> None:
    """Print a line for each network, side and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[1, 16, 64])
    parser.add_argument("--device", choices=["gpu", "cpu"], default="gpu")
    options = parser.parse_args()
    os.environ["KERAS_BACKEND"] = "jax"  # noqa: TID251 (Keras takes it from there)
    print(f"{'network':10}{'side':10}{'batch':>6}{'ms':>10}{'examples/s':>12}{'compile s':>11}{'from float32':>14}")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GRAFT_HOME"] = folder  # noqa: TID251 (no programs kept by others)
        file = Path(folder) / "model.keras"
        for name in options.networks:
            make, draw = NETWORKS[name]
            make().save(file)
            expected: dict[int, NDArray[np.float32]] = {}
            for side in SIDES:
                measure(name, side, file, draw, expected, options)


def measure(
    name: str,
    side: str,
    file: Path,
    draw: Callable[[int], NDArray[Any]],
    expected: dict[int, NDArray[np.float32]],
    options: argparse.Namespace,
) -> None:
    """Lines of one side; `expected` takes what the first one says."""
    from graftwork_serving import jax_engine

    precision = "bfloat16" if side == "bfloat16" else "float32"
    engine = EngineOptions(
        threads=os.cpu_count() or 1,
        max_batch_size=max(options.sizes),
        engine="jax",
        on_gpu=options.device == "gpu",
        precision=precision,  # type: ignore[arg-type]  # one of its words
    )
    with _in_tf32() if side == "TF32" else nullcontext():
        network = jax_engine._Network(file, ["keras", "keras_hub"], engine)
        for size in options.sizes:
            rows = draw(size)
            began = time.perf_counter()
            network.compile(rows.shape, rows.dtype)
            compiled_s = time.perf_counter() - began
            scores = network(rows)
            taken: list[float] = []
            while len(taken) < PASSES or sum(taken) < SECONDS:
                began = time.perf_counter()
                network(rows)
                taken.append(time.perf_counter() - began)
            pass_s = statistics.median(taken)
            gap = float(np.abs(scores - expected.setdefault(size, scores)).max())
            print(
                f"{name:10}{side:10}{size:>6}{pass_s * 1e3:>10.2f}{size / pass_s:>12.0f}{compiled_s:>11.1f}"
                f"{gap:>14.1e}",
                flush=True,
            )


def _in_tf32() -> AbstractContextManager[Any]:
    """What the engine asks JAX for is answered with TF32."""
    from unittest.mock import patch

    import jax

    exact = jax.default_matmul_precision
    return patch.object(jax, "default_matmul_precision", lambda _: exact("tensorfloat32"))


def _lite0() -> Any:
    import keras

    logits = keras.models.load_model(MODEL_DIR / "efficientnet_lite0.keras")
    return keras.Model(logits.input, keras.layers.Softmax()(logits.output))


def _resnet50() -> Any:
    import keras

    return keras.applications.ResNet50(weights=None)


def _bert() -> Any:
    import keras
    import keras_hub

    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=30522, num_layers=12, num_heads=12, hidden_dim=768, intermediate_dim=3072
    )
    given = keras.Input((None,), dtype="int32")
    mask = keras.ops.cast(keras.ops.not_equal(given, 0), "int32")
    taken = {"token_ids": given, "padding_mask": mask, "segment_ids": keras.ops.zeros_like(given)}
    return keras.Model(given, keras.layers.Dense(2, activation="softmax")(backbone(taken)["pooled_output"]))


def _pictures(rows: int) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, 256, (rows, 224, 224, 3), dtype=np.uint8)


def _texts(rows: int) -> NDArray[Any]:
    return np.random.default_rng(0).integers(1, 30_000, (rows, 128), dtype=np.int32)


NETWORKS: dict[str, tuple[Callable[[], Any], Callable[[int], NDArray[Any]]]] = {
    "lite0": (_lite0, _pictures),
    "resnet50": (_resnet50, _pictures),
    "bert": (_bert, _texts),
}

if __name__ == "__main__":
    main()
