from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from graftwork.settings import Settings, child_environment
from graftwork_jobs import run_paths
from graftwork_jobs.earlier_runs import JobBusyError, opening
from graftwork_jobs.evaluation.report import REPORT_FILE
from graftwork_jobs.run_claim import claimed_run, remove_run
from graftwork_jobs.run_paths import RunPaths, RunState

_DRIVERS = 6
# Starts when its standard input is closed, says which run it got, and keeps it until it is killed.
_DRIVER = """
import sys, time
from graftwork.settings import load_settings
from graftwork_jobs.earlier_runs import JobBusyError
from graftwork_jobs.run_claim import claimed_run
print("ready", flush=True)
sys.stdin.read()
try:
    with claimed_run(load_settings(), "flowers", "f") as claimed:
        print("got", claimed.paths.run_id, claimed.earlier is not None, flush=True)
        time.sleep(600)
except JobBusyError:
    print("busy", flush=True)
"""


def _at_once(home: Path) -> list[tuple[subprocess.Popen[str], list[str]]]:
    """Several drivers of the same job, let go within milliseconds, with what each said."""
    environment = child_environment({"GRAFT_HOME": str(home)})
    drivers = [
        subprocess.Popen(
            [sys.executable, "-c", _DRIVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(_DRIVERS)
    ]
    for driver in drivers:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "ready\n"
    for driver in drivers:
        assert driver.stdin is not None
        driver.stdin.close()
    return [(driver, driver.stdout.readline().split() if driver.stdout else []) for driver in drivers]


def _end(drivers: list[tuple[subprocess.Popen[str], list[str]]]) -> None:
    for driver, _ in drivers:
        driver.kill()
        driver.wait()
        assert driver.stdout is not None
        driver.stdout.close()


def test_of_drivers_that_come_at_once_one_gets_the_run(settings: Settings) -> None:
    """Of a job's first run, and of one whose driver was killed: the others are refused, and no run is made twice."""
    home = settings.runs_dir.parent
    first = _at_once(home)
    _end(first)
    second = _at_once(home)
    _end(second)
    for drivers, found in ((first, "False"), (second, "True")):
        said = sorted(words for _, words in drivers)
        assert [words[0] for words in said] == ["busy"] * (_DRIVERS - 1) + ["got"]
        assert said[-1][2] == found
    assert len(run_paths.runs_of(settings, "flowers")) == 1


def test_a_run_that_is_worked_on_is_left_alone(settings: Settings) -> None:
    """The error names the process and the command that ends it."""
    with (
        claimed_run(settings, "flowers", "f") as claimed,
        pytest.raises(JobBusyError, match=rf"{claimed.paths.run_id} is .*process {os.getpid()}.*graft jobs stop"),
        claimed_run(settings, "flowers", "f"),
    ):
        pass


def test_another_spec_of_the_job_is_no_hindrance(settings: Settings) -> None:
    """So is starting over on purpose."""
    with (
        claimed_run(settings, "flowers", "f") as first,
        claimed_run(settings, "flowers", "g") as other,
        claimed_run(settings, "flowers", "f", restart=True) as again,
    ):
        assert len({claimed.paths.root for claimed in (first, other, again)}) == 3


def test_what_a_killed_process_was_writing_is_swept_away(settings: Settings) -> None:
    """Temporary files and folders of the run go; what has its name stays."""
    with claimed_run(settings, "flowers", "f") as claimed:
        root = claimed.paths.root
    (root / ".1-2-plan.json").write_text("{")
    (root / ".bundle-x.partial" / "openvino").mkdir(parents=True)
    (root / "report").mkdir()
    with claimed_run(settings, "flowers", "f") as again:
        assert again.paths.root == root
        assert sorted(path.name for path in root.iterdir()) == [".lock", "report", "state.json"]


@pytest.mark.parametrize(("force", "fresh"), [(False, False), (True, True)])
def test_a_finished_run_answers_unless_forced(force: bool, fresh: bool, settings: Settings) -> None:
    """Its state comes along as it is once the run is held."""
    root = run_paths.job_dir(settings, "flowers") / "r1"
    root.mkdir(parents=True)
    finished = RunPaths(root=root)
    run_paths.write_state(finished, RunState(status="succeeded", fingerprint="f", pid=1))
    with claimed_run(settings, "flowers", "f", force=force) as claimed:
        assert (claimed.paths != finished) == fresh
        assert (claimed.earlier is None) == fresh


@pytest.mark.parametrize(("force", "fresh"), [(False, False), (True, True)])
def test_a_run_that_missed_its_gates_is_judged_again_unless_forced(
    force: bool, fresh: bool, settings: Settings
) -> None:
    """It is trained: --force means to train again, and what it begins with says what is done."""
    missed = RunPaths(root=run_paths.job_dir(settings, "flowers") / "r1")
    missed.report_dir.mkdir(parents=True)
    (missed.report_dir / REPORT_FILE).touch()
    run_paths.write_state(missed, RunState(status="failed", fingerprint="f", pid=1))
    with claimed_run(settings, "flowers", "f", force=force) as claimed:
        assert (claimed.earlier is None) == fresh
        assert ("is trained: what follows is done again" in opening(claimed.paths, claimed.earlier)) != fresh


def test_a_removed_run_is_gone_and_the_others_stay(settings: Settings) -> None:
    """With all its files, and with what a removal that was cut off has left; the next run starts afresh."""
    with claimed_run(settings, "flowers", "f") as claimed, claimed_run(settings, "flowers", "g") as other:
        (claimed.paths.root / "report").mkdir()
    cut_off = claimed.paths.root.parent / ".removed-20260101-000000-0000"
    cut_off.mkdir()
    (cut_off / "state.json").write_text("{}")
    assert {paths.root for paths in run_paths.runs_of(settings, "flowers")} == {claimed.paths.root, other.paths.root}
    remove_run(settings, claimed.paths)
    assert [path.name for path in sorted(other.paths.root.parent.iterdir())] == [".lock", other.paths.run_id]
    with claimed_run(settings, "flowers", "f") as again:
        assert again.earlier is None


def test_a_run_that_is_worked_on_is_not_removed(settings: Settings) -> None:
    """Its files are in use."""
    with claimed_run(settings, "flowers", "f") as claimed:
        with pytest.raises(JobBusyError, match="graft jobs stop flowers"):
            remove_run(settings, claimed.paths)
        assert claimed.paths.state_file.is_file()
