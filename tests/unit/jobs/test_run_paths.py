from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from graftwork.errors import SpecError
from graftwork.settings import Settings
from graftwork_jobs import run_paths
from graftwork_jobs.commands import jobs as jobs_command
from graftwork_jobs.commands.jobs import find_run
from graftwork_jobs.run_claim import claimed_run
from graftwork_jobs.run_paths import RunPaths, RunState


def make_run(settings: Settings, job: str, run_id: str, **state: object) -> RunPaths:
    """A run's folder with a state; by default of this process, in training."""
    root = run_paths.job_dir(settings, job) / run_id
    root.mkdir(parents=True)
    paths = RunPaths(root=root)
    run_paths.write_state(
        paths,
        replace(RunState(status="training", fingerprint="f", pid=os.getpid()), **state),  # type: ignore[arg-type]
    )
    return paths


def test_runs_are_listed_newest_first(settings: Settings) -> None:
    """Names sort by time; folders without a state and other jobs' runs are left out."""
    for run_id in ("20260102-000000-aaaa", "20260101-235959-ffff", "20260102-000001-0000"):
        make_run(settings, "flowers", run_id)
    make_run(settings, "birds", "20270101-000000-0000")
    (run_paths.job_dir(settings, "flowers") / "20280101-000000-0000").mkdir()
    found = run_paths.runs_of(settings, "flowers")
    assert [paths.run_id for paths in found] == ["20260102-000001-0000", "20260102-000000-aaaa", "20260101-235959-ffff"]
    assert [paths.job for paths in run_paths.all_runs(settings)] == ["birds", "flowers", "flowers", "flowers"]


def test_new_runs_do_not_meet(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs made within the same second have folders of their own, also if chance gives both the same name."""
    names = iter(["b1c6", "b1c6", "b1c6", "07aa"])
    monkeypatch.setattr("secrets.token_hex", lambda _size: next(names))
    monkeypatch.setattr("time.strftime", lambda *_args: "20261127-053510")
    roots = [run_paths.new_run(settings, "flowers").root for _ in range(2)]
    assert [root.name for root in roots] == ["20261127-053510-b1c6", "20261127-053510-07aa"]
    assert all(root.is_dir() for root in roots)


def test_no_runs_are_no_error(settings: Settings) -> None:
    """A fresh home has none."""
    assert run_paths.runs_of(settings, "flowers") == []
    assert list(run_paths.all_runs(settings)) == []


def test_a_run_of_a_living_process_is_driven(settings: Settings) -> None:
    """Until its status says that it ended."""
    assert run_paths.is_driven(make_run(settings, "flowers", "r1"))
    for status in run_paths.ENDED:
        assert not run_paths.is_driven(make_run(settings, "flowers", f"r-{status}", status=status))


def test_a_run_of_a_dead_process_is_not_driven(settings: Settings) -> None:
    """Nobody is left who could work on it."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert not run_paths.is_driven(make_run(settings, "flowers", "r1", pid=process.pid))


def test_a_process_that_ended_but_is_not_collected_drives_nothing(settings: Settings) -> None:
    """A zombie still has its number."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    paths = make_run(settings, "flowers", "r1", pid=process.pid)
    assert not run_paths.is_driven(paths)
    process.wait()


def test_a_later_process_with_the_same_number_drives_nothing(settings: Settings) -> None:
    """The number was given out anew after the run's last sign of life."""
    day_s = 86_400
    paths = make_run(settings, "flowers", "r1", updated_at=time.time() - 365 * day_s)
    assert not run_paths.is_driven(paths)


def test_a_state_is_read_back_whole(settings: Settings) -> None:
    """What is written is what is read."""
    paths = make_run(settings, "flowers", "r1", status="failed", message="why", result={"metrics": {"loss": 1.5}})
    state = run_paths.read_state(paths)
    assert (state.status, state.message, state.result) == ("failed", "why", {"metrics": {"loss": 1.5}})


def test_a_failed_write_leaves_the_old_content(tmp_path: Path) -> None:
    """JSON files change as a whole or not at all."""
    path = tmp_path / "state.json"
    run_paths.write_json(path, {"number": 1})
    with pytest.raises(TypeError):
        run_paths.write_json(path, {"number": 2, "what": object()})
    assert json.loads(path.read_text()) == {"number": 1}
    run_paths.write_json(path, {"number": 3})
    assert json.loads(path.read_text()) == {"number": 3}
    assert [each.name for each in tmp_path.iterdir()] == ["state.json"]


def test_a_run_is_found_by_job_or_by_both_names(settings: Settings) -> None:
    """A job's name means its newest run."""
    old, new = (
        make_run(settings, "flowers", "20260101-000000-0000"),
        make_run(settings, "flowers", "20260102-000000-0000"),
    )
    assert find_run(settings, "flowers") == new
    assert find_run(settings, "flowers/20260101-000000-0000") == old


def test_an_unknown_run_gets_near_names(settings: Settings) -> None:
    """A slip of the pen in a job's or a run's name is recognised."""
    make_run(settings, "flowers", "20260101-000000-0000")
    with pytest.raises(SpecError, match=r"received flwers, .*Did you mean `flowers`"):
        find_run(settings, "flwers")
    with pytest.raises(SpecError, match="Did you mean `flowers/20260101-000000-0000`"):
        find_run(settings, "flowers/20260101-000000-0001")


def test_an_unknown_run_in_an_empty_home(settings: Settings) -> None:
    """There is nothing it could be."""
    with pytest.raises(SpecError, match="the name of a run, and there are none yet"):
        find_run(settings, "flowers")


def test_removing_asks_for_the_whole_name_and_for_consent(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job's newest run is not deleted by naming the job."""
    monkeypatch.setattr(jobs_command, "load_settings", lambda: settings)
    with claimed_run(settings, "flowers", "f") as claimed:
        pass
    paths = claimed.paths
    run = f"flowers/{paths.run_id}"
    invoke = CliRunner().invoke
    refused = invoke(jobs_command.command, ["remove", "flowers", "--yes"])
    assert isinstance(refused.exception, SpecError)
    assert run in str(refused.exception)
    assert invoke(jobs_command.command, ["remove", run], input="n\n").exit_code == 1
    assert paths.root.is_dir()
    assert "is deleted" in invoke(jobs_command.command, ["remove", run], input="y\n").stdout
    assert not paths.root.exists()
