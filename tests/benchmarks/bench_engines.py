"""What computes a bundle's network fastest on this CPU: OpenVINO, ONNX Runtime, TensorFlow, from one run.

    uv run --with onnxruntime --with tf2onnx --with onnx python -m tests.benchmarks.bench_engines [--rounds 3]

Networks: EfficientNet-Lite0 (of the repository), MobileNetV2 and ResNet50V2 (random weights: speed does not depend on
them), all at 224 px and in float32. `alone`: milliseconds of a pass over one picture with all cores; `together`: what
as many threads as there are cores do in a second, one picture a pass, each pass on one core. Sides take turns round by
round; each figure is the median. Outputs are compared with Keras' first.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from graftwork_serving.engine import EngineOptions, OpenVinoEngine
from graftwork_serving.network import read_network
from tests.benchmarks.bench_serving import MODEL_DIR, SIDE

Pass = Callable[[NDArray[Any]], NDArray[Any]]
_CORES = len(os.sched_getaffinity(0))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    options = parser.parse_args()
    picture = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)
    for name, model in _networks().items():
        expected = keras.ops.convert_to_numpy(model(picture.astype(np.float32)))
        with tempfile.TemporaryDirectory() as folder:
            sides = {
                "openvino": _openvino(model, Path(folder)),
                "onnxruntime": _onnxruntime(model, Path(folder)),
                "tensorflow": _tensorflow(model),
            }
            alone: dict[str, list[float]] = {side: [] for side in sides}
            together: dict[str, list[float]] = {side: [] for side in sides}
            for side, (one, many) in sides.items():
                for run in (one, many):
                    np.testing.assert_allclose(run(picture), expected, rtol=2e-3, atol=2e-3, err_msg=side)
            for _ in range(options.rounds):
                for side, (one, many) in sides.items():
                    alone[side].append(1000 / _rate(one, picture, 1, options.seconds))
                    together[side].append(_rate(many, picture, _CORES, options.seconds))
        print(f"{name}, {_CORES} cores")
        for side in sides:
            ms, rate = statistics.median(alone[side]), statistics.median(together[side])
            print(f"  {side:12} alone {ms:6.2f} ms   together {rate:6.1f} pictures/s")


def _networks() -> dict[str, keras.Model]:
    lite = keras.models.load_model(MODEL_DIR / "efficientnet_lite0.keras")
    mobile = keras.applications.MobileNetV2(weights=None)
    resnet = keras.applications.ResNet50V2(weights=None)
    return {"EfficientNet-Lite0": lite, "MobileNetV2": mobile, "ResNet50V2": resnet}


def _rate(run: Pass, picture: NDArray[Any], threads: int, seconds: float) -> float:
    counts = [0] * threads
    over = time.perf_counter() + seconds

    def work(place: int) -> None:
        while time.perf_counter() < over:
            run(picture)
            counts[place] += 1

    workers = [threading.Thread(target=work, args=(place,)) for place in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / seconds


def _openvino(model: keras.Model, folder: Path) -> tuple[Pass, Pass]:
    from graftwork_jobs.export.engines import export_openvino

    file = folder / "model.xml"
    export_openvino(model, file)
    engine = OpenVinoEngine(
        partial(read_network, file),
        row_shape=(SIDE, SIDE, 3),
        trial=np.zeros((SIDE, SIDE, 3), np.uint8),
        options=EngineOptions(threads=_CORES, max_batch_size=1),
    )
    return partial(engine.predict, alone=True), engine.predict


def _onnxruntime(model: keras.Model, folder: Path) -> tuple[Pass, Pass]:
    import tensorflow as tf

    # Not among what the project installs.
    onnxruntime, tf2onnx = (importlib.import_module(name) for name in ("onnxruntime", "tf2onnx"))

    signature = [tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32, name="image")]
    function = tf.function(lambda image: model(image, training=False), input_signature=signature)
    file = folder / "model.onnx"
    tf2onnx.convert.from_function(function, input_signature=signature, opset=17, output_path=str(file))

    def session(threads: int) -> Pass:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        made = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        return lambda batch: made.run(None, {"image": batch.astype(np.float32)})[0]

    return session(_CORES), session(1)


def _tensorflow(model: keras.Model) -> tuple[Pass, Pass]:
    import tensorflow as tf

    function = tf.function(
        lambda image: model(image, training=False),
        input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32)],
    ).get_concrete_function()

    def run(batch: NDArray[Any]) -> NDArray[Any]:
        scores: NDArray[Any] = function(tf.constant(batch, tf.float32)).numpy()
        return scores

    return run, run


if __name__ == "__main__":
    main()
