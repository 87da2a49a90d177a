from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from graftwork.cli.main import cli
from graftwork.doctor import probe
from graftwork.doctor.judge import InterruptedRun
from graftwork.doctor.probe import interrupted_runs, libraries_of, port_holder, usable_cpus, why_not_writable


def test_libraries_come_from_the_installed_distribution() -> None:
    """The extras list what the package asks for, with pins and installed versions."""
    core = {library.name: library for library in libraries_of("")}
    train = {library.name: library for library in libraries_of("train")}
    serve = {library.name for library in libraries_of("serve")}
    assert core["click"].installed is not None
    assert core["click"].pinned is None
    assert train["tensorflow"].pinned is not None
    assert "tensorflow" not in serve
    assert "ray" in serve & set(train)


@pytest.mark.parametrize(("quota", "cores"), [("50000 100000", 0.5), ("max 100000", None), (None, None)])
def test_cpu_quota_of_a_control_group_counts(tmp_path: Path, quota: str | None, cores: float | None) -> None:
    """A container's quota limits the cores; without one, the affinity does."""
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota)
    assert usable_cpus(tmp_path) == (cores or len(os.sched_getaffinity(0)))


def test_memory_limit_of_a_control_group_counts(tmp_path: Path) -> None:
    """A container sees its own limit and what is left of it."""
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("300\n")
    assert probe._memory_limit(5000, 4000, tmp_path) == (1000, 700)
    (tmp_path / "memory.max").write_text("max\n")
    assert probe._memory_limit(5000, 4000, tmp_path) == (5000, 4000)


def test_port_in_use_is_found() -> None:
    """A listening socket holds its port until it is closed."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert port_holder(port) is not None
    assert port_holder(port) is None


def test_home_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    """The reason is the system's."""
    (tmp_path / "file").write_text("")
    assert why_not_writable(tmp_path / "file" / "home") == "Not a directory"
    assert why_not_writable(tmp_path / "new") is None


def test_interrupted_runs_are_found(tmp_path: Path) -> None:
    """A run counts when it says it is going on and its process is gone, or when its state cannot be read."""
    states = {
        "a/1": {"status": "training", "pid": 2**22 + 1},
        "a/2": {"status": "training", "pid": os.getpid()},
        "b/3": {"status": "succeeded", "pid": 2**22 + 1},
    }
    for name, state in states.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "state.json").write_text(json.dumps(state))
    (tmp_path / "c/4").mkdir(parents=True)
    (tmp_path / "c/4/state.json").write_text("{")
    assert list(interrupted_runs(tmp_path)) == [
        InterruptedRun(job="a", run_id="1", status="training"),
        InterruptedRun(job="c", run_id="4", status="unreadable state.json"),
    ]


@pytest.mark.parametrize("broken", [False, True])
def test_doctor_command_tells_by_its_exit_code(broken: bool, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 0 unless something will not work; `-o json` lists every check."""
    if broken:
        (home / "file").write_text("")
        monkeypatch.setenv("GRAFT_HOME", str(home / "file" / "home"))
    result = CliRunner().invoke(cli, ["doctor", "-o", "json"])
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert checks["home"]["status"] == ("error" if broken else "ok")
    if broken:
        assert result.exit_code == 1
    text = CliRunner().invoke(cli, ["doctor"])
    assert all(name in text.stdout for name in checks)
    assert text.exit_code == result.exit_code
