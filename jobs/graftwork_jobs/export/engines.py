"""Exporting a Keras model to OpenVINO, and running both forms outside the training process to compare them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftwork.bundle.directory import BundleError

if TYPE_CHECKING:
    import keras

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

INPUT_NAME = "image"
OUTPUT_NAME = "scores"

# Runs without Graftwork, as anyone who got only the model file would; prints the scores as the last line.
_LOAD_AND_PREDICT = """
import json, sys
for package in ("graftwork", "graftwork_jobs", "graftwork_serving"):
    sys.modules[package] = None
import keras, numpy
model = keras.models.load_model(sys.argv[1], compile=False, safe_mode=True)
images = numpy.load(sys.argv[2], allow_pickle=False).astype("float32")
print("\\n" + json.dumps(keras.ops.convert_to_numpy(model(images, training=False)).tolist()))
"""


def export_openvino(model: keras.Model, file: Path) -> None:
    """Write a Keras model as OpenVINO IR (`.xml` and `.bin`), float32, with any number of rows.

    Weights stay float32: rounded to float16 they moved scores by 8e-4, most of what golden examples allow.

    Args:
        model: image, shape (batch, height, width, 3), float32, to scores, shape (batch, labels).
        file: the `.xml` file to write.
    """
    import openvino
    import tensorflow as tf

    signature = tf.TensorSpec((None, *model.inputs[0].shape[1:]), tf.float32, name=INPUT_NAME)
    function = tf.function(
        lambda image: {OUTPUT_NAME: model(image, training=False)},
        input_signature=[signature],
    )
    converted = openvino.convert_model(function.get_concrete_function())
    converted.inputs[0].tensor.set_names({INPUT_NAME})
    converted.outputs[0].tensor.set_names({OUTPUT_NAME})
    file.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(converted, file, compress_to_fp16=False)


def openvino_engine(file: Path) -> Predict:
    """A function that runs an exported model on CPU in float32.

    Args:
        file: the `.xml` file.
    """
    import openvino

    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(compiled(images.astype(np.float32))[0])

    return predict


@dataclass(frozen=True, kw_only=True)
class KerasCheck:
    """A process that loads a `.keras` file without Graftwork and predicts with it; runs beside other work.

    Attributes:
        file: the model file.
        process: the process.
    """

    file: Path
    process: subprocess.Popen[str]

    @classmethod
    def start(cls, file: Path, images_file: Path, environment: dict[str, str]) -> KerasCheck:
        """Start the process.

        Args:
            file: the model file.
            images_file: `.npy` file with RGB pixels, shape (batch, height, width, 3), uint8.
            environment: environment variables.
        """
        command = [
            sys.executable,
            "-P",
            "-c",
            _LOAD_AND_PREDICT,
            str(file),
            str(images_file),
        ]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=file.parent,
        )
        return cls(file=file, process=process)

    def scores(self) -> NDArray[np.float32]:
        """Wait for the scores, shape (batch, labels).

        Raises:
            BundleError: the file cannot be loaded in safe mode without Graftwork.
        """
        output, errors = self.process.communicate()
        if self.process.returncode != 0:
            reason = (errors.strip().splitlines() or ["no output"])[-1]
            raise BundleError(
                f"{self.file}: the model cannot be loaded in safe mode without Graftwork: {reason}. "
                "It must hold stock Keras layers only."
            )
        scores: Any = json.loads(output.strip().splitlines()[-1])
        return np.asarray(scores, dtype=np.float32)

    def cancel(self) -> None:
        """End the process if it still runs; called however the caller ends."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
