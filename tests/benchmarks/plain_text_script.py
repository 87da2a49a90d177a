"""The other side of `bench_text.py` and `bench_text_accuracy.py`: a user's own script with KerasHub's text classifier.

One process, `TextClassifier.from_preset` on a preset directory, `fit` on the texts with everything trainable.
Source of the recipe: https://keras.io/keras_hub/getting_started/ (read, not copied).

Run by these; by hand: python tests/benchmarks/plain_text_script.py SETTINGS.json
"""

from __future__ import annotations

import csv
import json
import sys
import time
from pathlib import Path
from typing import Any

import keras
import keras_hub
import tensorflow as tf


class _EpochSpeed(keras.callbacks.Callback):
    """Texts per second of each epoch."""

    def __init__(self, texts: int) -> None:
        super().__init__()
        self.speeds: list[float] = []
        self._texts = texts
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        del epoch, logs
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        del epoch, logs
        self.speeds.append(self._texts / (time.perf_counter() - self._began))


def _examples(table: str) -> tuple[list[str], list[str]]:
    with Path(table).open(newline="", encoding="utf-8") as stream:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(stream)]
    return [text for text, _ in rows], [label for _, label in rows]


def main() -> None:
    """Train, test if there is a table to test on, and print one JSON line."""
    settings = json.loads(Path(sys.argv[1]).read_text())
    tf.config.threading.set_intra_op_parallelism_threads(settings["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(settings["threads"])
    keras.utils.set_random_seed(settings.get("seed", 1))
    texts, named = _examples(settings["table"])
    labels = sorted(set(named))
    targets = [labels.index(label) for label in named]
    preprocessor = keras_hub.models.TextClassifierPreprocessor.from_preset(
        settings["preset"], sequence_length=settings["max_tokens"]
    )
    model = keras_hub.models.TextClassifier.from_preset(
        settings["preset"], num_classes=len(labels), preprocessor=preprocessor
    )
    model.compile(
        optimizer=keras.optimizers.Adam(5e-5),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    speed = _EpochSpeed(len(texts))
    history = model.fit(
        x=texts, y=targets, batch_size=settings["batch_size"], epochs=settings["epochs"], verbose=0, callbacks=[speed]
    )
    accuracy = None
    if "test_table" in settings:
        tests, truths = _examples(settings["test_table"])
        _, accuracy = model.evaluate(x=tests, y=[labels.index(label) for label in truths], batch_size=64, verbose=0)
    result = {"speeds": speed.speeds, "losses": history.history["loss"], "accuracy": accuracy}
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
