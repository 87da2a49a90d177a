"""Images/s of our input pipeline beside tf.data's own JPEG decoding and resizing, on the same files and cores.

    python -m tests.benchmarks.bench_input_pipeline [--pictures 256] [--size 224] [--threads 2]

Ours decodes with Pillow in Python threads, because serving runs the very same code; tf.data's own decoder shows what
that costs. JPEGs of about 35 KB are made up on the spot. Both sides run in turn, several times; the medians are shown.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from graftwork.preprocess.image import ImageSpec, decode_image
from graftwork.progress import SilentReporter
from graftwork_jobs.data.fingerprint import fingerprint_all
from graftwork_jobs.data.index import Split
from graftwork_jobs.data.pipeline import BatchPlan, train_batches

BATCH = 32


def make_pictures(folder: Path, count: int) -> list[Path]:
    """Photograph-like JPEGs (coarse shapes with fine grain), 451 x 300 pixels, about 35 KB each."""
    paths = []
    for number in range(count):
        dice = np.random.default_rng(number)
        coarse = Image.fromarray(dice.integers(0, 256, (12, 18, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((451, 300), Image.Resampling.BICUBIC), dtype=np.int16)
        grain = dice.normal(0, 9, (300, 451, 1)).astype(np.int16)
        path = folder / f"{number:05}.jpg"
        Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(path, quality=78)
        os.utime(path, (1_600_000_000, 1_600_000_000))
        paths.append(path)
    return paths


def ours(paths: list[Path], size: int, threads: int) -> tf.data.Dataset:
    """One epoch of `train_batches`."""
    split = Split(
        name="train",
        inputs=tuple(map(str, paths)),
        targets=np.zeros(len(paths), dtype=np.int32),
        digests=tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths),
    )
    return train_batches(
        split,
        ImageSpec(height=size, width=size),
        BatchPlan(batch_size=BATCH),
        seed=0,
        phase=0,
        epoch=0,
        row_weights=None,
        augment=None,
        cache_dir=paths[0].parent,
        threads=threads,
    )


def tensorflows_own(paths: list[Path], size: int, threads: int) -> tf.data.Dataset:
    """The pipeline a user of tf.data would write."""

    def load(path: tf.Tensor) -> tf.Tensor:
        picture = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.image.resize(picture, (size, size), antialias=True)

    dataset = tf.data.Dataset.from_tensor_slices([str(path) for path in paths])
    dataset = dataset.map(load, num_parallel_calls=threads, deterministic=True).batch(BATCH).prefetch(2)
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    return dataset.with_options(options)


@dataclass(frozen=True)
class Speed:
    """What one run took: images/s by the clock, and CPU milliseconds an image over all threads (steady under load)."""

    images_per_s: float
    cpu_ms: float


def measure(run: Callable[[], object], count: int) -> Speed:
    """Time one run."""
    clock, cpu = time.perf_counter(), time.process_time()
    run()
    return Speed(count / (time.perf_counter() - clock), 1000 * (time.process_time() - cpu) / count)


def show(name: str, runs: Sequence[Speed]) -> None:
    """Print the medians."""
    speed = statistics.median(run.images_per_s for run in runs)
    print(f"{name:32}{speed:8.0f} images/s{statistics.median(run.cpu_ms for run in runs):8.2f} CPU-ms each")


def drain(dataset: tf.data.Dataset) -> None:
    """Go through all batches."""
    for _ in dataset:
        pass


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = make_pictures(Path(folder), chosen.pictures)
        sides = {
            "train_batches": ours(paths, chosen.size, chosen.threads),
            "tf.data decode_jpeg + resize": tensorflows_own(paths, chosen.size, chosen.threads),
        }
        runs: dict[str, list[Speed]] = {name: [] for name in sides}
        for _ in range(chosen.rounds):
            for name, dataset in sides.items():
                runs[name].append(measure(partial(drain, dataset), len(paths)))
        spec = ImageSpec(height=chosen.size, width=chosen.size)
        data = [path.read_bytes() for path in paths]
        runs["decode_image, one thread"] = [measure(lambda: [decode_image(one, spec) for one in data], len(data))]
        uris = [str(path) for path in paths]
        scan = partial(fingerprint_all, uris, cache_dir=Path(folder) / "cache", reporter=SilentReporter())
        for name in ("first scan", "second scan"):
            runs[name] = [measure(scan, len(uris))]
        kilobytes = sum(map(len, data)) / len(data) / 1000
    print(f"{chosen.pictures} JPEGs of {kilobytes:.0f} KB, {chosen.size} px, {chosen.threads} threads")
    for name, values in runs.items():
        show(name, values)


if __name__ == "__main__":
    main()
