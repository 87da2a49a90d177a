"""A folder of pictures answered in one go: `graft batch-predict` beside a Keras script, from one run.

    python -m tests.benchmarks.bench_batch [--pictures 2000] [--rounds 3]

Sides, all with EfficientNet-Lite0 at 224 px (1,000 labels) and copies of one 35 KB JPEG:

* batch: what `graft batch-predict` runs, a CSV with the label of each picture included;
* keras: `keras.Model.predict` over a `tf.data` pipeline that decodes and resizes in parallel, 32 pictures a batch;
* decoded: threads that decode and call the OpenVINO model, one picture a pass, and write nothing.

Loading models and TensorFlow's tracing are left out. Sides take turns round by round; each figure is the median.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from graftwork.progress import SilentReporter
from graftwork.settings import load_settings
from graftwork_serving.batch.predict_all import BatchRequest, predict_all
from tests.benchmarks.bench_serving import SIDE, bare_load, build_bundle

_BATCH = 32
_DECODED_S = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as name:
        work = Path(name)
        bundle, picture = build_bundle(work)
        folder = work / "pictures"
        folder.mkdir()
        for number in range(options.pictures):
            shutil.copyfile(picture, folder / f"{number:06}.jpg")
        sides: dict[str, Callable[[], float]] = {
            "batch": lambda: _batch(bundle, folder, work / "answers.csv"),
            "keras": _keras(bundle, folder),
            "decoded": lambda: bare_load("decoded", bundle, picture, seconds=_DECODED_S).rate,
        }
        rates: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(options.rounds):
            for side, measure in sides.items():
                rates[side].append(measure())
    ours = statistics.median(rates["batch"])
    print(f"{options.pictures} pictures, {len(os.sched_getaffinity(0))} cores, median of {options.rounds} rounds")
    for side, found in rates.items():
        middle = statistics.median(found)
        print(f"{side:8} {middle:7.1f} pictures/s   batch is {ours / middle:.2f} times that   {[*map(round, found)]}")


def _batch(bundle: Path, folder: Path, result: Path) -> float:
    request = BatchRequest(model=str(bundle), data=str(folder), result=str(result))
    outcome = predict_all(request, settings=load_settings(), reporter=SilentReporter())
    if outcome.failed:
        raise SystemExit(f"{outcome.failed} pictures could not be answered")
    return outcome.examples / outcome.seconds


def _keras(bundle: Path, folder: Path) -> Callable[[], float]:
    import keras
    import tensorflow as tf

    model = keras.models.load_model(bundle / "model.keras")
    files = sorted(map(str, folder.iterdir()))

    def read(file: tf.Tensor) -> tf.Tensor:
        pixels = tf.io.decode_jpeg(tf.io.read_file(file), channels=3)
        return tf.image.resize(pixels, (SIDE, SIDE))

    def pictures(some: list[str]) -> tf.data.Dataset:
        listed = tf.data.Dataset.from_tensor_slices(some)
        return listed.map(read, num_parallel_calls=tf.data.AUTOTUNE).batch(_BATCH).prefetch(tf.data.AUTOTUNE)

    model.predict(pictures(files[: 2 * _BATCH]), verbose=0)

    def measure() -> float:
        began = time.perf_counter()
        model.predict(pictures(files), verbose=0)
        return len(files) / (time.perf_counter() - began)

    return measure


if __name__ == "__main__":
    main()
