"""Sums through memory that workers of one machine share."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from multiprocessing import Pipe
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from graftwork_jobs.distributed import shared_memory
from graftwork_jobs.distributed.shared_memory import SharedMemory, can_share_memory, share_memory

pytestmark = pytest.mark.skipif(not can_share_memory(), reason="this system has no memory without a name")

T = TypeVar("T")
_PATIENCE_S = 30.0


class _Meeting:
    """What workers tell each other where they are threads."""

    def __init__(self, world: int) -> None:
        self.arrays: dict[int, NDArray[np.int32]] = {}
        self.barrier = threading.Barrier(world, timeout=_PATIENCE_S)


class _Worker:
    def __init__(self, rank: int, world: int, meeting: _Meeting) -> None:
        self.rank = rank
        self.world = world
        self._meeting = meeting

    def sum_array(self, array: NDArray[np.int32]) -> NDArray[np.int32]:
        self._meeting.arrays[self.rank] = array
        self._meeting.barrier.wait()
        return np.asarray(sum(self._meeting.arrays.values()), np.int32)


def _run_world(world: int, work: Callable[[int, SharedMemory], T]) -> list[T]:
    meeting = _Meeting(world)

    def run(rank: int) -> T:
        with closing(share_memory(_Worker(rank, world, meeting))) as memory:
            return work(rank, memory)

    with ThreadPoolExecutor(world) as pool:
        return [future.result(_PATIENCE_S) for future in [pool.submit(run, rank) for rank in range(world)]]


def _values(rank: int, size: int) -> NDArray[np.float32]:
    return np.random.default_rng(rank).normal(size=size).astype(np.float32)


@pytest.mark.parametrize("size", [1001, 100_001], ids=["few", "many"])
@pytest.mark.parametrize("world", [2, 3])
def test_everyone_gets_the_sum(world: int, size: int) -> None:
    """The same bits on all workers: added in the order of ranks."""
    expected = _values(0, size)
    for rank in range(1, world):
        expected = expected + _values(rank, size)
    for total in _run_world(world, lambda rank, memory: memory.sum(_values(rank, size), name="x")):
        np.testing.assert_array_equal(total, expected)


def test_nobody_overtakes_the_slowest() -> None:
    """Workers that pause at other places: no exchange gets a value of the one before or after it."""

    def work(rank: int, memory: SharedMemory) -> list[float]:
        pauses = np.random.default_rng(rank).uniform(0, 0.002, 300)
        seen = []
        for number, pause in enumerate(pauses):
            size = 30_000 if number % 7 == 0 else 10
            total = memory.sum(np.full(size, number, np.float32), name="x")
            time.sleep(pause)
            seen += [float(total.min()), float(total.max())]
        return seen

    for seen in _run_world(3, work):
        assert seen == [3.0 * number for number in range(300) for _ in range(2)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize("shape", [(), (0, 4), (2, 3)])
def test_shapes_and_types_stay(shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    """A number, nothing, and a matrix that is not laid out in one piece."""

    def work(rank: int, memory: SharedMemory) -> NDArray[np.generic]:
        return memory.sum(np.full(shape[::-1], 3 * rank, dtype).T, name="x")

    for total in _run_world(2, work):
        assert total.dtype == dtype
        np.testing.assert_array_equal(total, np.full(shape, 3, dtype))


def test_means_divide_by_the_workers() -> None:
    """After adding up, as the ring does."""
    expected = (_values(0, 7) + _values(1, 7) + _values(2, 7)) / np.float32(3)
    for mean in _run_world(3, lambda rank, memory: memory.sum(_values(rank, 7), name="x", is_mean=True)):
        np.testing.assert_array_equal(mean, expected)


@pytest.mark.parametrize("size", [1024, 1025, 5000])
def test_what_does_not_fit_goes_in_parts(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As much as there is room for, a little more, several times as much; then another exchange after it."""
    monkeypatch.setattr(shared_memory, "_CHUNK_BYTES", 4096)
    monkeypatch.setattr(shared_memory, "_SMALL_BYTES", 64)

    def work(rank: int, memory: SharedMemory) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return memory.sum(_values(rank, size), name="x"), memory.sum(np.array([rank], np.float32), name="y")

    for total, last in _run_world(2, work):
        np.testing.assert_array_equal(total, _values(0, size) + _values(1, size))
        assert last == [1.0]


def test_different_turns_are_named() -> None:
    """Not added up to nonsense, and nobody waits for ever."""
    with pytest.raises(RuntimeError, match="different turns"):
        _run_world(2, lambda rank, memory: memory.sum(np.zeros(rank + 1, np.float32), name="x"))


@pytest.mark.parametrize("killed", [0, 1])
def test_a_lost_worker_is_noticed(killed: int) -> None:
    """After kill -9 of either: the other raises within a moment."""
    ours, theirs = zip(*(Pipe() for _ in range(2)), strict=True)
    module = "tests.unit.jobs.distributed.shared_memory_worker"
    processes = [
        subprocess.Popen([sys.executable, "-m", module, str(rank), str(end.fileno())], pass_fds=[end.fileno()])
        for rank, end in enumerate(theirs)
    ]
    try:
        path = ours[0].recv()
        ours[1].recv()
        for connection in ours:
            connection.send(path)
        assert not ours[1 - killed].poll(1), "it goes on while both live"
        processes[killed].kill()
        assert ours[1 - killed].poll(_PATIENCE_S)
        assert "lost" in ours[1 - killed].recv()
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for connection in (*ours, *theirs):
            connection.close()


def test_nothing_is_left_in_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket's folder goes as soon as all have met."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _run_world(2, lambda _, memory: memory.sum(np.zeros(1, np.float32), name="x"))
    assert not list(tmp_path.iterdir())
