"""Training on JAX beside plain Keras on JAX on one device: steps, validation and features of the trunk, from one run.

Both sides get the same network, batches (random, decoded, in this machine's memory), optimizer and precision, and take
turns; figures are medians over the rounds, the device idle at the end of each. `first s` is a side's first step,
compilation included: on a GPU minutes where much is unfrozen, as XLA tries kernels. Where sides share shapes, the later
one finds the earlier one's choice. `MB` is what XLA gives the side's largest program, batch and weights included.

`on features` trains from outputs of the frozen part that were computed before, as jobs do (`features.cache`): the plain
side does so in the `head` case, where a user would.

Run: python -m tests.benchmarks.bench_gpu [--only lite0/head ...] [--precision mixed_bfloat16 float32] [--size 224]
    [--batch 32] [--rounds 5] [--seconds 450] [--device gpu]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tests.benchmarks.step_sides import Element

ROUND_S = 0.5
# Few enough to lie in memory, more than the processor's cache holds.
DISTINCT_BATCHES = 6
EVALUATED_ROWS = 64
_MOST_STEPS = 1024


class Runnable(Protocol):
    """A side of a comparison."""

    def run(self, elements: list[Element], count: int) -> float:
        """Go through that many batches, to the end; gives a figure that both sides should agree on."""
        ...


@dataclass
class Entry:
    """A side and what was measured of it.

    Attributes:
        name: of the side.
        side: itself.
        elements: its batches.
        first_s: its first step.
        memory_bytes: of its largest program.
        figure: what it computed of the same batches as the other sides.
        last: what it computed last.
        times_s: of a step, by round.
    """

    name: str
    side: Runnable
    elements: list[Element]
    first_s: float = 0.0
    memory_bytes: int = 0
    figure: float = 0.0
    last: float = 0.0
    times_s: list[float] = field(default_factory=list)


def main() -> None:
    """Run the comparisons that time allows, and print each as it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(COMPARISONS), choices=list(COMPARISONS))
    parser.add_argument("--precision", nargs="+", default=["mixed_bfloat16", "float32"])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=450.0)
    parser.add_argument("--device", choices=["gpu", "cpu"])
    options = parser.parse_args()
    began = time.perf_counter()
    os.environ["KERAS_BACKEND"] = "jax"  # noqa: TID251 (Keras takes it from there)
    if options.device:
        os.environ["JAX_PLATFORMS"] = {"gpu": "cuda"}.get(options.device, "cpu")  # noqa: TID251 (JAX likewise)
    import jax
    import keras

    device = jax.devices()[0]
    print(f"{device.device_kind}, jax {jax.__version__}, keras {keras.__version__}")
    print(f"{options.size} px, {options.batch} rows a step, {options.rounds} rounds")
    columns = ("first s", "ms/step", "spread", "rows/s", "MB", "figure")
    print(f"{'comparison':31} {'side':18}" + "".join(f"{column:>10}" for column in columns))
    for name in options.only:
        for precision in options.precision:
            label = f"{name} {precision}"
            if time.perf_counter() - began > options.seconds:
                print(f"{label:31} left out: --seconds are over")
                continue
            entries, rows = COMPARISONS[name](name, precision, options)
            measure(entries, rounds=options.rounds)
            report(label, entries, rows)
    statistics_of = device.memory_stats() or {}
    print(f"most memory in use by this process: {statistics_of.get('peak_bytes_in_use', 0) / 1e6:.0f} MB")


def measure(entries: list[Entry], *, rounds: int) -> None:
    """Fill in the entries."""
    for entry in entries:
        with _new_programs() as programs:
            entry.first_s = _timed(entry, 1)
        entry.memory_bytes = max((_size(program) for program in programs), default=0)
    counts = {}
    for entry in entries:
        _timed(entry, 4)
        # Until here all sides have done the same.
        entry.figure = entry.last
        counts[entry.name] = min(max(16, round(ROUND_S / (_timed(entry, 16) / 16))), _MOST_STEPS)
    for number in range(rounds):
        for entry in entries if number % 2 else reversed(entries):
            entry.times_s.append(_timed(entry, counts[entry.name]) / counts[entry.name])


def report(label: str, entries: list[Entry], rows: int) -> None:
    """A line a side."""
    for entry in entries:
        step_s = statistics.median(entry.times_s)
        spread = (max(entry.times_s) - min(entry.times_s)) / step_s
        print(
            f"{label:31} {entry.name:18}{entry.first_s:>10.1f}{step_s * 1e3:>10.3f}{spread:>10.1%}"
            f"{rows / step_s:>10.0f}{entry.memory_bytes / 1e6:>10.0f}{entry.figure:>10.4f}",
            flush=True,
        )


def _timed(entry: Entry, count: int) -> float:
    began = time.perf_counter()
    entry.last = entry.side.run(entry.elements, count)
    return time.perf_counter() - began


def training(name: str, precision: str, options: argparse.Namespace) -> tuple[list[Entry], int]:
    """Steps of a phase: through the whole network, and from features of what is frozen."""
    from tests.benchmarks.step_sides import Case, GraftSide, PlainSide, make_batches

    network, _, part = name.partition("/")
    case = Case(
        network=network,
        unfreeze={"head": 0.0, "third": 0.3, "all": 1.0}[part],
        precision=precision,
        size=options.size,
        batch=options.batch,
    )
    pictures = make_batches((case.size, case.size, 3), case.batch, count=DISTINCT_BATCHES, largest=255)
    entries = [Entry("graft", GraftSide(case), pictures), Entry("plain Keras", PlainSide(case), pictures)]
    if part != "all":
        cached = GraftSide(case, on_features=True)
        shape = cached.cut.shape if cached.cut is not None else (case.size, case.size, 3)
        features = make_batches(shape, case.batch, count=DISTINCT_BATCHES, largest=1)
        entries.append(Entry("graft on features", cached, features))
        if part == "head":
            entries.append(Entry("plain on features", PlainSide(case, features=shape), features))
    return entries, case.batch


def evaluating(name: str, precision: str, options: argparse.Namespace) -> tuple[list[Entry], int]:
    """Outputs of the frozen trunk, or figures of the whole network, without training."""
    from tests.benchmarks import step_sides

    network, _, what = name.partition("/")
    case = step_sides.Case(network=network, unfreeze=0.0, precision=precision, size=options.size, batch=options.batch)
    rows = min(EVALUATED_ROWS, options.batch * 2)
    pictures = step_sides.make_batches((case.size, case.size, 3), rows, count=DISTINCT_BATCHES, largest=255)
    ours: dict[str, Any] = {"features": step_sides.GraftFeatures, "validate": step_sides.GraftValidation}
    plain: dict[str, Any] = {"features": step_sides.PlainFeatures, "validate": step_sides.PlainValidation}
    return [Entry("graft", ours[what](case), pictures), Entry("plain Keras", plain[what](case), pictures)], rows


COMPARISONS: dict[str, Callable[[str, str, argparse.Namespace], tuple[list[Entry], int]]] = {
    "lite0/head": training,
    "lite0/features": evaluating,
    "lite0/third": training,
    "lite0/validate": evaluating,
    "ResNet50/features": evaluating,
    "ResNet50/all": training,
    "lite0/all": training,
}


@contextmanager
def _new_programs() -> Iterator[list[Any]]:
    """Programs that were compiled within the block, once it is over."""
    from jax.extend.backend import get_backend

    before = {id(program) for program in get_backend().live_executables()}
    found: list[Any] = []
    yield found
    found.extend(program for program in get_backend().live_executables() if id(program) not in before)


def _size(program: Any) -> int:
    stats = program.get_compiled_memory_stats()
    parts = stats.argument_size_in_bytes + stats.output_size_in_bytes + stats.temp_size_in_bytes
    return int(parts - stats.alias_size_in_bytes)


if __name__ == "__main__":
    main()
