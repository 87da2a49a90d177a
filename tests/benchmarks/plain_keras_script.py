"""The other side of `bench_job.py`: what a user writes by hand from the Keras transfer-learning guide.

One process, all cores, `image_dataset_from_directory`, `fit` with a frozen backbone, then `fit` with its end unfrozen.
Source of the recipe: https://keras.io/guides/transfer_learning/ (read, not copied).

Run by `bench_job.py`; by hand: python tests/benchmarks/plain_keras_script.py SETTINGS.json
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import keras


def load(folder: str, settings: dict[str, Any], *, shuffle: bool, **split: Any) -> Any:
    """A tf.data set of a folder with one sub-folder a class."""
    return keras.utils.image_dataset_from_directory(
        folder,
        image_size=(settings["size"], settings["size"]),
        batch_size=settings["batch_size"],
        seed=settings["seed"],
        shuffle=shuffle,
        **split,
    ).prefetch(2)


def build(settings: dict[str, Any], classes: int) -> tuple[Any, Any]:
    """The classifier and its backbone, at the chosen picture size."""
    original = keras.models.load_model(settings["backbone"])
    config = original.get_config()
    config["layers"][0]["config"]["batch_shape"] = (None, settings["size"], settings["size"], 3)
    resized = keras.Model.from_config(config)
    resized.set_weights(original.get_weights())
    backbone = keras.Model(resized.inputs, resized.get_layer(settings["output_layer"]).output)
    inputs = keras.Input((settings["size"], settings["size"], 3))
    features = keras.layers.GlobalAveragePooling2D()(backbone(inputs, training=False))
    return keras.Model(inputs, keras.layers.Dense(classes)(features)), backbone


def main() -> None:
    """Train, evaluate, print one JSON line."""
    settings = json.loads(Path(sys.argv[1]).read_text())
    keras.utils.set_random_seed(settings["seed"])
    started = time.perf_counter()
    train = load(settings["train"], settings, shuffle=True, validation_split=0.15, subset="training")
    validation = load(settings["train"], settings, shuffle=True, validation_split=0.15, subset="validation")
    classes = len(list(Path(settings["train"]).iterdir()))
    model, backbone = build(settings, classes)
    validation_accuracies: list[float] = []
    phases_s: list[float] = []
    for phase in settings["phases"]:
        phase_began = time.perf_counter()
        backbone.trainable = phase["unfreeze_from"] is not None
        if phase["unfreeze_from"] is not None:
            names = [layer.name for layer in backbone.layers]
            for layer in backbone.layers[: names.index(phase["unfreeze_from"])]:
                layer.trainable = False
        model.compile(
            keras.optimizers.Adam(phase["learning_rate"]),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        fitted = model.fit(train, validation_data=validation, epochs=phase["epochs"], verbose=0)
        validation_accuracies += fitted.history["val_accuracy"]
        phases_s.append(time.perf_counter() - phase_began)
    trained_s = time.perf_counter() - started
    accuracies = [
        model.evaluate(load(folder, settings, shuffle=False), verbose=0, return_dict=True)["accuracy"]
        for folder in settings["tests"]
    ]
    result = {
        "accuracies": accuracies,
        "validation_accuracies": validation_accuracies,
        "trained_s": trained_s,
        "phases_s": phases_s,
    }
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
