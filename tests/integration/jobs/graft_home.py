"""A `GRAFT_HOME` and the `graft` command working in it, in processes that can be watched, frozen and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from graftwork.settings import Settings, child_environment
from graftwork_jobs import run_paths
from graftwork_jobs.events import read_events
from graftwork_jobs.run_paths import RunPaths

GRAFT = (sys.executable, "-c", "from graftwork.cli.main import main; main()")
# As from a terminal, even if the tests run in a shell's background, where Ctrl-C is ignored.
_HEARS_CTRL_C = ("env", "--default-signal=INT")
DEADLINE_S = 240.0
_LOOK_EVERY_S = 0.02


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What a command left: exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)


@dataclass(kw_only=True)
class Started:
    """A running command; whatever processes it starts are remembered while someone waits for it."""

    process: subprocess.Popen[str]
    family: set[psutil.Process] = field(default_factory=set)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return as soon as the condition holds.

        Raises:
            AssertionError: the command ended, or the deadline passed, before it did.
        """
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            self._look()
            if self.process.poll() is not None:
                raise AssertionError(f"ended too soon: {self.ended()}")
            if time.monotonic() > deadline:
                raise AssertionError("waited too long")
            time.sleep(_LOOK_EVERY_S)
        self._look()

    def freeze(self) -> None:
        """Stop the clock for the command and everything it started: nothing happens between two looks."""
        for process in (psutil.Process(self.process.pid), *self.family):
            # Some of the family were helpers of a moment.
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def kill_frozen(self) -> None:
        """`kill -9` of the command alone; what it started wakes up to find it dead."""
        self.process.kill()
        for process in self.family:
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def interrupt(self) -> None:
        """Ctrl-C, as a terminal does it: to the command and to all in its process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def ended(self) -> Ended:
        """Wait for the end; what takes too long is ended, so that it is not in the way of what comes next."""
        try:
            out, err = self.process.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()
            raise
        return Ended(code=self.process.returncode, out=out, err=err)

    def left_over(self, timeout_s: float) -> list[str]:
        """Processes it started that still run after a while, and folders of its Ray."""
        _, alive = psutil.wait_procs(self.family, timeout=timeout_s)
        return [f"{process.pid} {process.name()}" for process in alive]

    def _look(self) -> None:
        try:
            self.family.update(psutil.Process(self.process.pid).children(recursive=True))
        except psutil.NoSuchProcess:
            return


@dataclass(frozen=True, kw_only=True)
class GraftHome:
    """A home and the folder with the job specs."""

    home: Path
    work: Path

    @property
    def settings(self) -> Settings:
        """Where things are."""
        return Settings.at(self.home)

    def start(self, *arguments: str, prefix: tuple[str, ...] = ()) -> Started:
        """Start `graft ...` in a process group of its own."""
        return Started(
            process=subprocess.Popen(
                [*_HEARS_CTRL_C, *prefix, *GRAFT, *arguments],
                cwd=self.work,
                env=child_environment({"GRAFT_HOME": str(self.home), "MLFLOW_TRACKING_URI": ""}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )

    def graft(self, *arguments: str, prefix: tuple[str, ...] = ()) -> Ended:
        """Run `graft ...` to its end."""
        return self.start(*arguments, prefix=prefix).ended()

    def runs(self, job: str) -> list[RunPaths]:
        """Runs of a job, newest first."""
        return run_paths.runs_of(self.settings, job)

    def epochs(self, job: str, phase: str) -> int:
        """Finished epochs of a phase in the job's newest run."""
        runs = self.runs(job)
        events = read_events(runs[0].events_file) if runs else []
        return sum(event["kind"] == "epoch" and event["phase"] == phase for event in events)
