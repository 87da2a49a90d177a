"""Which endpoints run on this machine: one JSON file for each, written by the process that runs it.

A file whose process is gone is stale: it is ignored and removed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from graftwork.errors import Problem, SpecError
from graftwork.near_names import did_you_mean
from graftwork.whole_file import write_whole

# Start times are kept in whole clock ticks; two readings of one process may differ by rounding.
_START_TOLERANCE_S = 1.0


class EndpointState(BaseModel):
    """One running endpoint."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    """Endpoint's name."""
    url: str
    """Where it answers, without a path."""
    grpc: str | None = None
    """Where it answers gRPC, as HOST:PORT; None nowhere."""
    pid: int
    """Process that runs it."""
    process_started_at: float
    """When that process started, in seconds since 1970: tells it from a later one with the same number."""
    spec_file: str
    """The file it was started from."""
    models: list[str]
    """`NAME VERSION` of what it serves."""
    given_up: list[str] = []
    """Versions that aliases point to and that are not served, each with the reason."""
    takes_text: bool = False
    """Whether its first model takes texts; otherwise pictures."""
    asks_for_key: bool = False
    """Whether requests must bring an API key or a token."""
    ready: bool = False
    """Whether it answers requests."""
    revision: int = 0
    """How often it was told to follow its file."""
    last_error: str | None = None
    """Why it could not the last time."""

    @property
    def is_running(self) -> bool:
        """Whether its process still exists."""
        try:
            process = psutil.Process(self.pid)
            return (
                process.status() != psutil.STATUS_ZOMBIE
                and abs(process.create_time() - self.process_started_at) <= _START_TOLERANCE_S
            )
        except psutil.NoSuchProcess:
            return False


def process_started_at(pid: int) -> float:
    """When a process started, in seconds since 1970."""
    return psutil.Process(pid).create_time()


def write_state(directory: Path, state: EndpointState) -> None:
    """Write or replace an endpoint's file."""
    write_whole(_state_file(directory, state.name), json.dumps(state.model_dump(mode="json"), indent=2) + "\n")


def remove_state(directory: Path, name: str, *, pid: int) -> None:
    """Remove an endpoint's file if it is that process's."""
    state = _read(_state_file(directory, name))
    if state is not None and state.pid == pid:
        _state_file(directory, name).unlink(missing_ok=True)


def running_endpoint(directory: Path, name: str) -> EndpointState | None:
    """The running endpoint of a name, or None."""
    return next((state for state in running_endpoints(directory) if state.name == name), None)


def running_endpoints(directory: Path) -> list[EndpointState]:
    """All endpoints whose process exists, by name; removes the files of others."""
    states: list[EndpointState] = []
    for file in sorted(directory.glob("*.json")):
        state = _read(file)
        if state is not None and state.is_running:
            states.append(state)
        else:
            file.unlink(missing_ok=True)
    return states


def require_endpoint(directory: Path, name: str) -> EndpointState:
    """The running endpoint of a name.

    Raises:
        SpecError: none of that name runs.
    """
    states = {state.name: state for state in running_endpoints(directory)}
    if name in states:
        return states[name]
    running = f"Running here: {', '.join(states)}." if states else "None runs here."
    raise SpecError(
        Problem(
            where="endpoint",
            received=repr(name),
            expected="the name of an endpoint that runs on this machine",
            fix=f"{running} {did_you_mean(name, states)} Start one with `graft serve FILE`.".replace("  ", " "),
        )
    )


def log_file(directory: Path, name: str) -> Path:
    """Where an endpoint that runs in the background writes what it says."""
    return directory / f"{name}.log"


def _state_file(directory: Path, name: str) -> Path:
    return directory / f"{name}.json"


def _read(file: Path) -> EndpointState | None:
    try:
        content: Any = json.loads(file.read_text())
        return EndpointState.model_validate(content)
    except (FileNotFoundError, ValueError, ValidationError):
        return None
