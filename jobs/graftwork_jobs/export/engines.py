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
from graftwork.openvino_core import openvino_core

if TYPE_CHECKING:
    import keras

Predict = Callable[[NDArray[Any]], NDArray[np.float32]]

OUTPUT_NAME = "scores"

# Runs without Graftwork, as anyone who got only the model file would; prints the scores as the last line.
_LOAD_AND_PREDICT = """
import json, sys
for package in ("graftwork", "graftwork_jobs", "graftwork_serving"):
    sys.modules[package] = None
import keras, numpy
model = keras.models.load_model(sys.argv[1], compile=False, safe_mode=True)
batch = numpy.load(sys.argv[2], allow_pickle=False)
print("\\n" + json.dumps(keras.ops.convert_to_numpy(model(batch, training=False)).tolist()))
"""


def export_openvino(model: keras.Model, file: Path) -> None:
    """Write a Keras model as OpenVINO IR (`.xml` and `.bin`), float32, with any number of rows (and of tokens).

    Weights stay float32: rounded to float16 they moved scores by 8e-4, most of what golden examples allow.

    Args:
        model: one input, whose name the exported one takes over, to scores, shape (batch, labels).
        file: the `.xml` file to write.
    """
    import openvino
    import tensorflow as tf

    given = model.inputs[0]
    signature = tf.TensorSpec((None, *given.shape[1:]), given.dtype, name=given.name)
    function = tf.function(
        lambda batch: {OUTPUT_NAME: model(batch, training=False)},
        input_signature=[signature],
    )
    converted = openvino.convert_model(function.get_concrete_function())
    converted.inputs[0].tensor.set_names({given.name})
    converted.outputs[0].tensor.set_names({OUTPUT_NAME})
    file.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(converted, file, compress_to_fp16=False)


def openvino_engine(file: Path) -> Predict:
    """A function that runs an exported model on CPU in float32.

    Args:
        file: the `.xml` file.
    """
    compiled = openvino_core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    dtype = compiled.inputs[0].get_element_type().to_dtype()

    def predict(batch: NDArray[Any]) -> NDArray[np.float32]:
        return np.asarray(compiled(batch.astype(dtype))[0])

    return predict


def keras_libraries(model: keras.Model) -> list[str]:
    """Packages whose layers a model holds; they have to be imported before it can be loaded in safe mode."""
    owners = {type(layer).__module__.partition(".")[0] for layer in model._flatten_layers()}  # noqa: SLF001
    return ["keras", *sorted(owners - {"keras"})]


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
    def start(cls, file: Path, batch_file: Path, environment: dict[str, str]) -> KerasCheck:
        """Start the process.

        Args:
            file: the model file.
            batch_file: `.npy` file with a batch as the model takes it.
            environment: environment variables.
        """
        command = [
            sys.executable,
            "-P",
            "-c",
            _LOAD_AND_PREDICT,
            str(file),
            str(batch_file),
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
                "It must hold layers of Keras and KerasHub only."
            )
        scores: Any = json.loads(output.strip().splitlines()[-1])
        return np.asarray(scores, dtype=np.float32)

    def cancel(self) -> None:
        """End the process if it still runs; called however the caller ends."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
