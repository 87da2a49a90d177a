"""Where a training run keeps its files, and how runs are named and found. The only place that builds these paths."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

from graftwork.settings import Settings
from graftwork.whole_file import write_whole

RunStatus = Literal["planned", "training", "evaluating", "registering", "succeeded", "failed", "stopped"]
ENDED: frozenset[str] = frozenset({"succeeded", "failed", "stopped"})


@dataclass(frozen=True, kw_only=True)
class RunPaths:
    """The files of one run.

    Attributes:
        root: `<home>/runs/<job>/<run id>`.
    """

    root: Path

    @property
    def job(self) -> str:
        """Name of the job."""
        return self.root.parent.name

    @property
    def run_id(self) -> str:
        """Name of the run, unique among the job's."""
        return self.root.name

    @property
    def spec_file(self) -> Path:
        """The job spec as it was run (JSON)."""
        return self.root / "spec.json"

    @property
    def source_file(self) -> Path:
        """The file the job came from, as the user wrote it (YAML)."""
        return self.root / "job.yaml"

    @property
    def plan_file(self) -> Path:
        """What `graft plan` found (JSON)."""
        return self.root / "plan.json"

    @property
    def index_file(self) -> Path:
        """Every example with its label, split and digest (Parquet)."""
        return self.root / "index.parquet"

    @property
    def environment_file(self) -> Path:
        """Machine, library versions and all installed packages (JSON)."""
        return self.root / "environment.json"

    @property
    def events_file(self) -> Path:
        """The event log (JSON lines)."""
        return self.root / "events.jsonl"

    @property
    def state_file(self) -> Path:
        """How far the run is (JSON)."""
        return self.root / "state.json"

    @property
    def lock_file(self) -> Path:
        """Locked by the process that works on the run."""
        return self.root / ".lock"

    @property
    def report_dir(self) -> Path:
        """The report: HTML, PNG and metrics."""
        return self.root / "report"

    @property
    def predictions_dir(self) -> Path:
        """What the model said of every test example (CSV)."""
        return self.root / "predictions"

    @property
    def bundle_dir(self) -> Path:
        """The bundle."""
        return self.root / "bundle"

    @property
    def baseline_dir(self) -> Path:
        """The same job on random weights, if the spec asks for it; laid out like `root`."""
        return self.root / "baseline"

    @property
    def trials_dir(self) -> Path:
        """Trials of a search: a record of each that ended, and a folder of each."""
        return self.root / "trials"

    @property
    def log_file(self) -> Path:
        """What Ray and the libraries below printed."""
        return self.root / "run.log"


@dataclass(frozen=True, kw_only=True)
class RunState:
    """How far a run is.

    Attributes:
        status: where it stands.
        fingerprint: digest of spec and data; a run is continued only if it is the same.
        pid: process that drives it, or drove it last.
        updated_at: Unix time in seconds.
        message: one line for a person.
        result: what came out, once it succeeded.
    """

    status: RunStatus
    fingerprint: str
    pid: int
    updated_at: float = field(default_factory=time.time)
    message: str = ""
    result: dict[str, Any] = field(default_factory=dict)


def job_dir(settings: Settings, job: str) -> Path:
    """Folder that holds all runs of a job."""
    return settings.runs_dir / job


def new_run(settings: Settings, job: str) -> RunPaths:
    """Make the folder of a fresh run; its name sorts by time and is no other run's, also of the same second."""
    while True:
        run_id = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
        root = job_dir(settings, job) / run_id
        with contextlib.suppress(FileExistsError):
            root.mkdir(parents=True)
            return RunPaths(root=root)


def runs_of(settings: Settings, job: str) -> list[RunPaths]:
    """All runs of a job, newest first."""
    folder = job_dir(settings, job)
    if not folder.is_dir():
        return []
    roots = (root for root in sorted(folder.iterdir(), reverse=True) if not root.name.startswith("."))
    return [RunPaths(root=root) for root in roots if (root / "state.json").is_file()]


def all_runs(settings: Settings) -> Iterator[RunPaths]:
    """All runs of all jobs, newest first within a job."""
    if settings.runs_dir.is_dir():
        for folder in sorted(settings.runs_dir.iterdir()):
            yield from runs_of(settings, folder.name)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file so that a reader sees the old content or the new, never half of it."""
    write_whole(path, json.dumps(content, indent=2) + "\n")


def write_state(paths: RunPaths, state: RunState) -> None:
    """Record how far a run is."""
    write_json(paths.state_file, asdict(state))


def is_driven(paths: RunPaths) -> bool:
    """Whether a process is working on the run: it has not ended, and its process exists and is not a later namesake."""
    state = read_state(paths)
    if state.status in ENDED:
        return False
    try:
        process = psutil.Process(state.pid)
        return process.create_time() <= state.updated_at and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def read_state(paths: RunPaths) -> RunState:
    """How far a run is."""
    return RunState(**json.loads(paths.state_file.read_text()))
