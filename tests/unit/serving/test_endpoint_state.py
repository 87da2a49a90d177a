from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from graftwork.endpoint_state import (
    EndpointState,
    process_started_at,
    remove_state,
    require_endpoint,
    running_endpoints,
    write_state,
)
from graftwork.errors import SpecError


def state(name: str, pid: int, started_at: float) -> EndpointState:
    return EndpointState(
        name=name, url="http://127.0.0.1:1", pid=pid, process_started_at=started_at, spec_file="e.yaml", models=["m 1"]
    )


def test_a_running_process_is_listed(tmp_path: Path) -> None:
    """What was written comes back while the process lives, and is gone once removed."""
    mine = state("mine", os.getpid(), process_started_at(os.getpid()))
    write_state(tmp_path, mine)
    assert running_endpoints(tmp_path) == [mine]
    remove_state(tmp_path, "mine", pid=os.getpid())
    assert running_endpoints(tmp_path) == []


def test_files_of_dead_processes_are_dropped(tmp_path: Path) -> None:
    """A file that a killed process left behind does not count, nor does a later process of the same number."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    write_state(tmp_path, state("dead", process.pid, 1.0))
    write_state(tmp_path, state("reused", os.getpid(), 1.0))
    assert running_endpoints(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_no_endpoint(tmp_path: Path) -> None:
    """Half a file does not stop the others from being listed."""
    (tmp_path / "half.json").write_text('{"name": ')
    assert running_endpoints(tmp_path) == []


def test_an_unknown_name_is_answered_with_near_ones(tmp_path: Path) -> None:
    """The error lists what runs and suggests what may have been meant."""
    write_state(tmp_path, state("flowers", os.getpid(), process_started_at(os.getpid())))
    with pytest.raises(SpecError, match="Did you mean `flowers`"):
        require_endpoint(tmp_path, "flower")
