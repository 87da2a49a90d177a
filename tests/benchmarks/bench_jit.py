"""Training steps that TensorFlow compiles with XLA (`jit_compile=True`) beside its own, from one run.

    python -m tests.benchmarks.bench_jit [--rounds 3]

A plain Keras script, batches of 32, random weights and data: MobileNetV2 at 96 px, a BERT of 6 layers and width 384 on
64 tokens, and a head of two dense layers on 1,280 features. `first` is the first epoch, tracing and compiling included;
`epoch` the median of the rounds after it, in which the sides take turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

_BATCH = 32
_EXAMPLES = 256
_CLASSES = 10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for name, make in {"MobileNetV2": _pictures, "BERT": _texts, "head": _features}.items():
        sides = {side: _epoch(*make(), jit_compile=jit) for side, jit in {"plain": False, "XLA": True}.items()}
        first = {side: run() for side, run in sides.items()}
        rounds = [{side: run() for side, run in sides.items()} for _ in range(options.rounds)]
        epoch = {side: statistics.median(each[side] for each in rounds) for side in sides}
        shown = ", ".join(f"{side} first {first[side]:.1f} s, epoch {epoch[side]:.2f} s" for side in sides)
        print(f"{name}: {shown}; XLA takes {epoch['XLA'] / epoch['plain']:.2f} times as long")


def _epoch(model: keras.Model, inputs: Any, *, jit_compile: bool) -> Callable[[], float]:
    labels = np.random.default_rng(0).integers(0, _CLASSES, len(next(iter(keras.tree.flatten(inputs)))))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, jit_compile=jit_compile)

    def run() -> float:
        began = time.perf_counter()
        model.fit(inputs, labels, batch_size=_BATCH, epochs=1, verbose=0)
        return time.perf_counter() - began

    return run


def _pictures() -> tuple[keras.Model, Any]:
    trunk = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(96, 96, 3), pooling="avg")
    inputs = np.random.default_rng(0).random((_EXAMPLES, 96, 96, 3), dtype=np.float32)
    return keras.Sequential([trunk, keras.layers.Dense(_CLASSES)]), inputs


def _texts() -> tuple[keras.Model, Any]:
    import keras_hub

    trunk = keras_hub.models.BertBackbone(
        vocabulary_size=30522, num_layers=6, num_heads=12, hidden_dim=384, intermediate_dim=1536, max_sequence_length=64
    )
    given = {
        name: keras.Input((64,), dtype="int32", name=name) for name in ("token_ids", "segment_ids", "padding_mask")
    }
    inputs = {name: np.ones((_EXAMPLES // 2, 64), np.int32) for name in given}
    inputs["token_ids"] = np.random.default_rng(0).integers(1, 30000, (_EXAMPLES // 2, 64), dtype=np.int32)
    return keras.Model(given, keras.layers.Dense(_CLASSES)(trunk(given)["pooled_output"])), inputs


def _features() -> tuple[keras.Model, Any]:
    layers = [keras.Input((1280,)), keras.layers.Dense(256, activation="relu"), keras.layers.Dense(_CLASSES)]
    return keras.Sequential(layers), np.random.default_rng(0).random((16 * _EXAMPLES, 1280), dtype=np.float32)


if __name__ == "__main__":
    main()
