"""Most memory that a run on many pictures takes, by process, beside what keeping the pictures in memory would take.

The pictures are JPEGs of 224 px: the example pictures enlarged, each many times with other bytes behind the end of the
image, so that every file counts as a picture of its own. The backbone is a small one, as what is measured is the way
of the data: scan, index, decoding, features in files. The first phase trains a head on pooled features, the second one
more layer on feature maps of 50 KB a picture.

Resident memory (RSS) holds pages of mapped files, which the system takes back when it needs room; USS does not hold
what processes share, but what they alone have mapped of files. Both are sampled from outside.

Run: python -m tests.benchmarks.bench_memory [--pictures 50000] [--workers 2]
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import psutil
import yaml
from PIL import Image

from graftwork.settings import child_environment
from tests.benchmarks.bench_job import DATA

SIZE = 224
_EVERY_S = 0.5
_GIB = 1024**3
_MAP_CHANNELS = 16


def _enlarged() -> Iterator[tuple[str, bytes]]:
    """Class and JPEG of each example picture."""
    for path in sorted((DATA / "google-train").glob("*/*.png")):
        with Image.open(path) as picture:
            enlarged = picture.convert("RGB").resize((SIZE, SIZE))
        buffer = io.BytesIO()
        enlarged.save(buffer, "JPEG", quality=90)
        yield path.parent.name, buffer.getvalue()


def write_pictures(root: Path, count: int) -> None:
    """Write files that all differ.

    Args:
        root: gets a folder for each class.
        count: of all files.
    """
    pictures = list(_enlarged())
    for label, _ in pictures:
        (root / label).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        label, picture = pictures[number % len(pictures)]
        (root / label / f"{number:06d}.jpg").write_bytes(picture + number.to_bytes(4, "big"))


def write_backbone(path: Path) -> None:
    """Save a small network whose last layer but one gives maps of 28 x 28."""
    image = keras.Input((SIZE, SIZE, 3))
    maps = keras.layers.Conv2D(_MAP_CHANNELS, 8, strides=8, activation="relu", name="first")(image)
    keras.Model(image, keras.layers.Conv2D(64, 4, strides=4, activation="relu", name="last")(maps)).save(path)


def _spec(pictures: Path, backbone: Path, workers: int) -> dict[str, Any]:
    return {
        "apiVersion": "graftwork.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": "memory"},
        "spec": {
            "task": "image-classification",
            "backbone": {"path": str(backbone)},
            "input": {"imageSize": [SIZE, SIZE]},
            "data": {
                "train": {"uri": str(pictures)},
                "validation": {"fraction": 0.05},
                "test": {"fraction": 0.05},
            },
            "phases": [
                {"name": "head", "epochs": 2, "learningRate": 1e-3},
                {"name": "tune", "epochs": 1, "learningRate": 1e-4, "unfreeze": {"fromLayer": "last"}},
            ],
            "training": {"batchSize": 64},
            "scaling": {"workers": workers},
        },
    }


def _kind(process: psutil.Process, driver: int) -> str | None:
    """What a process is to the run; None if nothing that computes."""
    if process.pid == driver:
        return "driver"
    words = " ".join(process.cmdline())
    return "worker" if "RayTrainWorker" in words else None


def watched_run(spec: Path, home: Path) -> tuple[dict[str, tuple[int, int]], float]:
    """Run a job and look at its processes meanwhile.

    Returns:
        By kind of process the most RSS and the most USS that one of them had, in bytes; and seconds in all.
    """
    began = time.perf_counter()
    graft = Path(sys.executable).with_name("graft")
    running = subprocess.Popen([graft, "run", spec], env=child_environment({"GRAFT_HOME": str(home)}))
    before = {process.pid for process in psutil.process_iter()} - {running.pid}
    most: dict[str, tuple[int, int]] = {}
    while running.poll() is None:
        for process in psutil.process_iter():
            if process.pid in before:
                continue
            try:
                kind = _kind(process, running.pid)
                if kind is None:
                    continue
                memory = process.memory_full_info()
            except psutil.Error:
                # It has ended meanwhile.
                continue
            rss, uss = most.get(kind, (0, 0))
            most[kind] = max(rss, memory.rss), max(uss, memory.uss)
        time.sleep(_EVERY_S)
    if running.returncode:
        sys.exit(f"graft run ended with {running.returncode}")
    return most, time.perf_counter() - began


def main() -> None:
    """Run the job and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=50_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder / "pictures", options.pictures)
        write_backbone(folder / "backbone.keras")
        spec = folder / "job.yaml"
        spec.write_text(yaml.safe_dump(_spec(folder / "pictures", folder / "backbone.keras", options.workers)))
        most, seconds = watched_run(spec, folder / "home")
    kept = options.pictures * SIZE * SIZE * 3
    print(f"{options.pictures} pictures of {SIZE} px, {options.workers} workers, {seconds:.0f} s")
    print(f"{'':34} {'most RSS, GiB':>14} {'most USS, GiB':>14}")
    for kind, (rss, uss) in sorted(most.items()):
        print(f"{kind:34} {rss / _GIB:>14.2f} {uss / _GIB:>14.2f}")
    for what, size in (("all pictures in memory, uint8", 1), ("all pictures in memory, float32", 4)):
        print(f"{what:34} {kept * size / _GIB:>14.2f}")


if __name__ == "__main__":
    main()
