"""Who may work on a run: one process at a time, whatever the moment at which others come.

A lock of the operating system, which ends with the process that holds it however that dies. The process number in a
run's state only tells people who it is.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork_jobs import run_paths
from graftwork_jobs.earlier_runs import EarlierRun, JobBusyError, find_earlier_run
from graftwork_jobs.run_paths import RunPaths, RunState

if TYPE_CHECKING:
    from graftwork.settings import Settings

_REMOVED = ".removed-"


@dataclass(frozen=True, kw_only=True)
class ClaimedRun:
    """A run that this process alone works on.

    Attributes:
        paths: its files.
        earlier: the same run as it was found; None for a fresh one.
    """

    paths: RunPaths
    earlier: EarlierRun | None


@contextmanager
def claimed_run(
    settings: Settings, job: str, fingerprint: str, *, restart: bool = False, force: bool = False
) -> Iterator[ClaimedRun]:
    """The job's run with a fingerprint, or a fresh one, held inside the block.

    Of processes that come at the same moment one gets the run. A finished run is waited for, for it only answers.

    Args:
        settings: where runs are.
        job: its name.
        fingerprint: of what decides the weights.
        restart: take a fresh run in any case.
        force: take a fresh run in place of one that was trained to its end.

    Raises:
        JobBusyError: another process works on the run.
    """
    # Looking for a run and making one is one step: a second process finds what the first has made.
    with _locked(run_paths.job_dir(settings, job) / ".lock"):
        earlier = None if restart else find_earlier_run(settings, job, fingerprint)
        if earlier is not None and earlier.is_trained and force:
            earlier = None
        paths = run_paths.new_run(settings, job) if earlier is None else earlier.paths
        stream = _open(paths.lock_file) if earlier is not None else _open_and_lock(paths.lock_file)
        if earlier is None:
            run_paths.write_state(paths, RunState(status="planned", fingerprint=fingerprint, pid=os.getpid()))
    try:
        if earlier is not None:
            _take(stream, paths, wait=earlier.is_finished)
            # It may have ended since it was found.
            earlier = replace(earlier, state=run_paths.read_state(paths))
            _sweep(paths)
        yield ClaimedRun(paths=paths, earlier=earlier)
    finally:
        os.close(stream)


def remove_run(settings: Settings, paths: RunPaths) -> None:
    """Delete a run with all its files; what is registered stays. If this is cut off, the next removal goes on with it.

    Args:
        settings: where runs are.
        paths: of the run.

    Raises:
        JobBusyError: a process works on it.
    """
    folder = run_paths.job_dir(settings, paths.job)
    with _locked(folder / ".lock"):
        stream = _open(paths.lock_file)
        try:
            _take(stream, paths, wait=False)
            paths.root.rename(folder / f"{_REMOVED}{paths.run_id}")
        finally:
            os.close(stream)
        for left in folder.glob(f"{_REMOVED}*"):
            shutil.rmtree(left)


def _sweep(paths: RunPaths) -> None:
    """Delete what a killed process was still writing: all of it has a temporary name, and nobody else is at it."""
    for folder in (paths.root, paths.predictions_dir):
        for left in folder.glob(".*"):
            if left == paths.lock_file:
                continue
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def _take(stream: int, paths: RunPaths, *, wait: bool) -> None:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        state = run_paths.read_state(paths)
        raise JobBusyError(
            f"{paths.job}: run {paths.run_id} is being worked on by process {state.pid}. "
            f"Wait for it, or end it with: graft jobs stop {paths.job}/{paths.run_id}"
        ) from error


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    stream = _open_and_lock(file)
    try:
        yield
    finally:
        os.close(stream)


def _open_and_lock(file: Path) -> int:
    stream = _open(file)
    try:
        fcntl.flock(stream, fcntl.LOCK_EX)
    except BaseException:
        with suppress(OSError):
            os.close(stream)
        raise
    return stream


def _open(file: Path) -> int:
    """Open a lock file. It is never removed: who waits for a removed one would hold a lock that nobody else sees."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
