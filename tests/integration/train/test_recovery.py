"""Killed workers and drivers change nothing in what comes out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from graftwork.progress import SilentReporter
from graftwork_jobs.events import EventTail, read_events
from graftwork_jobs.train.launch import train
from graftwork_jobs.train.request import TrainRequest
from tests.integration.train.small_jobs import (
    EVERY_EPOCH,
    PHASES,
    RECOVERY,
    SmallData,
    history_of,
    scores_of,
    small_request,
    weights_of,
)
from tests.support.train_workers import train_workers

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]

_REPOSITORY = Path(__file__).parents[3]
_DEADLINE_S = 400.0
_LOOK_EVERY_S = 0.05
# Workers die with their raylet at once; Ray's agents first try to report its death to who is dead, too.
_RAY_AGENTS_GIVE_UP_S = 180.0


@pytest.fixture(scope="module")
def undisturbed(small_data: SmallData, local_ray: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainRequest:
    """The job of this module, run through in peace on two workers."""
    request = small_request(small_data, tmp_path_factory.mktemp("peace") / "undisturbed", workers=2, **RECOVERY)
    train(request, SilentReporter())
    return request


def _assert_same_outcome(one: TrainRequest, other: TrainRequest) -> None:
    """Exactly: workers have one thread each, so their sums are in the same order every time."""
    for split in ("test", "elsewhere"):
        np.testing.assert_array_equal(scores_of(one, split), scores_of(other, split))
    expected = weights_of(other)
    for name, value in weights_of(one).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    figures = [
        [
            {name: value for name, value in record.items() if name not in {"images_per_s", "seconds"}}
            for record in history_of(request)
        ]
        for request in (one, other)
    ]
    assert figures[0] == figures[1]


def _starts_of_phases(request: TrainRequest) -> list[str]:
    return [event["phase"] for event in read_events(request.events_file) if event["kind"] == "phase_started"]


def _when_first_epoch_is_done(request: TrainRequest, phase: str, act: Callable[[], None]) -> threading.Thread:
    """Act as soon as a phase has a finished epoch, which is while the next one runs."""

    def watch() -> None:
        tail, deadline = EventTail(request.events_file), time.monotonic() + _DEADLINE_S
        while time.monotonic() < deadline:
            if any(event["kind"] == "epoch" and event["phase"] == phase for event in tail.new_events()):
                act()
                return
            time.sleep(_LOOK_EVERY_S)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def _workers() -> list[psutil.Process]:
    """Processes of training workers that this process' Ray started."""
    return train_workers(_descendants(os.getpid()))


def _descendants(pid: int) -> Iterator[psutil.Process]:
    try:
        yield from psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return


@pytest.mark.slow
@pytest.mark.parametrize("phase", [phase["name"] for phase in PHASES])
def test_a_killed_worker_changes_nothing(
    phase: str, undisturbed: TrainRequest, small_data: SmallData, tmp_path: Path
) -> None:
    """`kill -9` of a worker within a phase: Ray restarts the workers, and the same weights and predictions come out."""
    request = small_request(small_data, tmp_path / f"worker-{phase}", workers=2, **RECOVERY)
    watcher = _when_first_epoch_is_done(request, phase, lambda: os.kill(_workers()[-1].pid, signal.SIGKILL))
    train(request, SilentReporter())
    watcher.join(timeout=1)
    assert not watcher.is_alive()
    assert len(_starts_of_phases(request)) > len(PHASES), "the workers were not restarted"
    _assert_same_outcome(request, undisturbed)


@pytest.mark.slow
def test_a_hanging_worker_is_replaced(undisturbed: TrainRequest, small_data: SmallData, tmp_path: Path) -> None:
    """A worker that stands still for ever: after the deadline all are ended and started again; nothing changes."""
    spec = {**RECOVERY, "scaling": {"workers": 2, "stallTimeoutSeconds": 10, **EVERY_EPOCH}}
    request = small_request(small_data, tmp_path / "hanging", **spec)
    watcher = _when_first_epoch_is_done(request, "tune", lambda: os.kill(_workers()[-1].pid, signal.SIGSTOP))
    train(request, SilentReporter())
    watcher.join(timeout=1)
    assert not watcher.is_alive()
    assert _starts_of_phases(request) == ["head", "tune", "tune"]
    assert not _workers(), "the one that hung is still there"
    _assert_same_outcome(request, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("phase", [phase["name"] for phase in PHASES])
def test_a_killed_driver_changes_nothing(
    phase: str, undisturbed: TrainRequest, small_data: SmallData, tmp_path: Path
) -> None:
    """`kill -9` of the driver within a phase: its Ray dies with it, and a second call goes on to the same outcome."""
    request = small_request(small_data, tmp_path / f"driver-{phase}", workers=2, **RECOVERY)
    command = [sys.executable, "-m", "tests.integration.train.drive", str(small_data.root), str(request.run_dir)]
    driver = subprocess.Popen(command, cwd=_REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    watcher = _when_first_epoch_is_done(request, phase, driver.kill)
    started: set[psutil.Process] = set()
    while driver.poll() is None:
        started.update(_descendants(driver.pid))
        time.sleep(_LOOK_EVERY_S)
    watcher.join(timeout=1)
    assert driver.returncode == -signal.SIGKILL
    _, alive = psutil.wait_procs(started, timeout=_RAY_AGENTS_GIVE_UP_S)
    assert not alive, f"still running: {alive}"
    assert not request.result_file.exists()
    assert _starts_of_phases(request)[-1] == phase

    train(request, SilentReporter())
    done = [event for event in read_events(request.events_file) if event["kind"] == "epoch"]
    # It went on: at most the epoch that was not committed yet was done again.
    assert len(history_of(request)) <= len(done) <= len(history_of(request)) + 1
    _assert_same_outcome(request, undisturbed)


def test_a_finished_run_is_not_run_again(undisturbed: TrainRequest) -> None:
    """Calling again hands over what is there."""
    before = undisturbed.events_file.read_bytes()
    result = train(undisturbed, SilentReporter())
    assert undisturbed.events_file.read_bytes() == before
    assert result.weights_file == undisturbed.weights_file
    assert result.predictions["test"].is_file()


def test_checkpoints_go_once_training_is_done(undisturbed: TrainRequest) -> None:
    """The result is all that is asked for from then on, and checkpoints are most of a run's folder."""
    assert undisturbed.result_file.is_file()
    assert not undisturbed.checkpoints_dir.exists()
