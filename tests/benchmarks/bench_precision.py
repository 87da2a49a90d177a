"""What `precision: bfloat16` gains and what it costs: throughput and accuracy of both precisions, from one run.

    graft run jobs/specs/emoji10.yaml
    python -m tests.benchmarks.bench_precision emoji10@champion [--rounds 3] [--seconds 4]

MODEL is a bundle of the emoji10 job, by its name in the registry or its directory. Accuracy is that on the test
pictures in `examples/emoji10`, of the same vendor and of another; `changed` counts pictures that bfloat16 answers with
another class than float32. Throughput is the engine's alone, on as many threads as there are cores, and that of `graft
serve` endpoints asked over 1 and 8 connections; sides take turns round by round, and each figure is the median of the
rounds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from tests.benchmarks.bench_serving import ROOT, Load, make_picture, run_load, start_server

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graftwork.spec.precision import Precision
    from graftwork_serving.served_model import ServedModel

PICTURES = ROOT / "examples" / "emoji10"
SETS = ("google-test", "twitter-test")
CONNECTIONS = (1, 8)
# Sides of the serving benchmark that serve a bundle in each precision.
SIDES: Final[dict[Precision, str]] = {"float32": "endpoint", "bfloat16": "bfloat16"}


@dataclass(frozen=True, kw_only=True)
class Said:
    """What one precision says of one set of pictures.

    Attributes:
        scores: shape (pictures, labels).
        classes: the true ones, by their place among the labels.
    """

    scores: NDArray[np.float32]
    classes: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """Share of the pictures that get their class."""
        return float((self.scores.argmax(axis=1) == self.classes).mean())


def main() -> None:
    """Load both, ask both, print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed. Debian: apt-get install wrk")
    bundle = bundle_of(arguments.model)
    models: dict[Precision, ServedModel] = {precision: load(bundle, precision) for precision in SIDES}
    said: dict[tuple[Precision, str], Said] = {
        (precision, name): ask(model, PICTURES / name) for precision, model in models.items() for name in SETS
    }
    rates: dict[Precision, list[float]] = {precision: [] for precision in SIDES}
    loads: dict[tuple[Precision, int], list[Load]] = {}
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as folder, ExitStack() as stack:
        work = Path(folder)
        picture = work / "picture.jpg"
        make_picture(picture)
        servers: dict[Precision, tuple[int, str]] = {
            precision: stack.enter_context(start_server(side, bundle, work)) for precision, side in SIDES.items()
        }
        for turn in range(arguments.rounds + 1):
            for precision, (pid, url) in servers.items():
                rate = engine_rate(models[precision], seconds=arguments.seconds)
                if turn:  # the first turn warms up
                    rates[precision].append(rate)
                for connections in CONNECTIONS:
                    seen = run_load(url, pid, picture, connections=connections, seconds=arguments.seconds)
                    if turn:
                        loads.setdefault((precision, connections), []).append(seen)
    report(said, rates, loads)


def bundle_of(model: str) -> Path:
    """The directory of a bundle."""
    if Path(model).is_dir():
        return Path(model)
    from graftwork.registry import Registry
    from graftwork.settings import load_settings

    return Registry(load_settings()).resolve(model).path


def load(bundle: Path, precision: Precision) -> ServedModel:
    """The bundle as a replica with all cores loads it, golden examples replayed."""
    from graftwork.bundle.directory import open_bundle
    from graftwork_serving.endpoint_config import ModelConfig
    from graftwork_serving.engine import EngineOptions
    from graftwork_serving.served_model import load_model

    config = ModelConfig(
        name="bench",
        version="1",
        path=str(bundle),
        digest=open_bundle(bundle).digest,
        reference=str(bundle),
        source=str(bundle),
    )
    options = EngineOptions(threads=len(os.sched_getaffinity(0)), max_batch_size=16, precision=precision)
    return load_model(config, options, max_image_pixels=1_000_000)


def ask(model: ServedModel, folder: Path) -> Said:
    """What a model says of a folder with a sub-folder a class."""
    files = sorted(folder.rglob("*.png"))
    pixels = [model.decode(file.read_bytes()) for file in files]
    scores = [model.engine.predict(model.reader.stack([each])) for each in pixels]
    classes = [model.answers.labels.index(file.parent.name) for file in files]
    return Said(scores=np.concatenate(scores), classes=np.asarray(classes))


def engine_rate(model: ServedModel, *, seconds: int) -> float:
    """Single pictures a second on as many threads as there are cores; no decoding and no HTTP."""
    batch = model.reader.stack([model.reader.trial()])
    over, counts = time.perf_counter() + seconds, []

    def work() -> None:
        count = 0
        while time.perf_counter() < over:
            model.engine.predict(batch)
            count += 1
        counts.append(count)

    workers = [threading.Thread(target=work) for _ in os.sched_getaffinity(0)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / seconds


def report(
    said: dict[tuple[Precision, str], Said],
    rates: dict[Precision, list[float]],
    loads: dict[tuple[Precision, int], list[Load]],
) -> None:
    """Print both precisions beside each other."""
    engine = {precision: statistics.median(seen) for precision, seen in rates.items()}
    served = {key: statistics.median(load.rate for load in seen) for key, seen in loads.items()}
    p50_ms = {key: statistics.median(load.p50_ms for load in seen) for key, seen in loads.items()}
    failed = sum(load.failures for seen in loads.values() for load in seen)
    print(f"{'':24}{'float32':>12}{'bfloat16':>12}{'ratio':>8}")

    def line(name: str, values: list[float], digits: int) -> None:
        exact, rounded = values
        print(f"{name:24}{exact:12.{digits}f}{rounded:12.{digits}f}{rounded / exact:8.2f}")

    line("engine, pictures/s", [engine[precision] for precision in SIDES], 1)
    for connections in CONNECTIONS:
        line(f"requests/s at {connections}", [served[precision, connections] for precision in SIDES], 1)
        line(f"p50 ms at {connections}", [p50_ms[precision, connections] for precision in SIDES], 2)
    for name in SETS:
        line(f"accuracy, {name}", [said[precision, name].accuracy for precision in SIDES], 4)
    for name in SETS:
        exact, rounded = said["float32", name].scores, said["bfloat16", name].scores
        changed = int((exact.argmax(axis=1) != rounded.argmax(axis=1)).sum())
        differences = np.abs(exact - rounded).max(axis=1)
        print(
            f"{name}: {changed} of {len(exact)} pictures changed; largest difference of a score: "
            f"median {np.median(differences):.4f}, most {differences.max():.4f}"
        )
    print(f"requests not answered with 2xx: {failed}")


if __name__ == "__main__":
    main()
