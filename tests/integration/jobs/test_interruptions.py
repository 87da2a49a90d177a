"""A run that is killed, interrupted and stopped, and still ends as if nothing had happened."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from graftwork.cli.main import cli
from graftwork_jobs.run_paths import read_state
from tests.integration.jobs.graft_home import Ended, GraftHome, Started
from tests.integration.jobs.tiny_jobs import write_job

# Slow: five Ray starts one after the other.
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

_JOB = "disturbed"
_POLITE_END_S = 60.0
# Workers die with their raylet at once; Ray's agents first try to report its death to who is dead, too.
_AFTER_KILL_S = 180.0


@dataclass(frozen=True, kw_only=True)
class Leftovers:
    """What a driver left behind."""

    processes: list[str]
    folders: list[str]


@dataclass(frozen=True, kw_only=True)
class DisturbedRun:
    """What was seen at each disturbance of one run."""

    second_driver: Ended
    listed_while_running: dict[str, Any]
    listed_after_kill: dict[str, Any]
    after_kill: Leftovers
    interrupted: Ended
    status_after_interrupt: str
    after_interrupt: Leftovers
    stop_command: Ended
    stopped: Ended
    status_after_stop: str
    after_stop: Leftovers
    finished: Ended
    runs: int


def _jobs(graft_home: GraftHome, *arguments: str) -> Ended:
    result = CliRunner().invoke(cli, ["jobs", *arguments], env={"GRAFT_HOME": str(graft_home.home)})
    return Ended(code=result.exit_code, out=result.stdout, err=result.stderr)


def _listed(graft_home: GraftHome) -> dict[str, Any]:
    (row,) = [row for row in _jobs(graft_home, "list", "-o", "json").json if row["job"] == _JOB]
    return dict(row)


def _leftovers(driver: Started, timeout_s: float) -> Leftovers:
    processes = driver.left_over(timeout_s)
    folders = [path.name for path in Path(tempfile.gettempdir()).glob(f"graft-ray-{driver.process.pid}-*")]
    return Leftovers(processes=processes, folders=folders)


@pytest.fixture(scope="module")
def disturbed(graft_home: GraftHome) -> DisturbedRun:
    """One job: killed in its first phase, interrupted in its second, stopped later in that, and then left alone."""
    scaling = {"checkpointEverySeconds": 1e-6}
    file = write_job(graft_home.work, _JOB, register={"model": "disturbed"}, scaling=scaling)

    def start_and_wait(phase: str, epochs: int) -> Started:
        driver = graft_home.start("run", file, "-o", "json")
        driver.wait_until(lambda: graft_home.epochs(_JOB, phase) >= epochs)
        return driver

    def status() -> str:
        return read_state(graft_home.runs(_JOB)[0]).status

    killed = start_and_wait("head", 1)
    killed.freeze()
    second_driver, listed_while_running = graft_home.graft("run", file), _listed(graft_home)
    killed.kill_frozen()
    killed.ended()
    listed_after_kill = _listed(graft_home)

    interrupted = start_and_wait("tune", 1)
    interrupted.interrupt()
    interrupted_end, status_after_interrupt = interrupted.ended(), status()

    stopped = start_and_wait("tune", graft_home.epochs(_JOB, "tune") + 1)
    stop_command = _jobs(graft_home, "stop", _JOB)
    stopped_end, status_after_stop = stopped.ended(), status()

    finished = graft_home.graft("run", file, "-o", "json")
    return DisturbedRun(
        second_driver=second_driver,
        listed_while_running=listed_while_running,
        listed_after_kill=listed_after_kill,
        after_kill=_leftovers(killed, _AFTER_KILL_S),
        interrupted=interrupted_end,
        status_after_interrupt=status_after_interrupt,
        after_interrupt=_leftovers(interrupted, _POLITE_END_S),
        stop_command=stop_command,
        stopped=stopped_end,
        status_after_stop=status_after_stop,
        after_stop=_leftovers(stopped, _POLITE_END_S),
        finished=finished,
        runs=len(graft_home.runs(_JOB)),
    )


def test_a_second_driver_is_refused(disturbed: DisturbedRun) -> None:
    """While one process works on the run, another ends with its number and how to end it."""
    assert disturbed.second_driver.code == 1
    assert "is being worked on by process" in disturbed.second_driver.err
    assert f"graft jobs stop {_JOB}" in disturbed.second_driver.err


def test_jobs_list_tells_running_from_dead(disturbed: DisturbedRun) -> None:
    """A run whose process was killed could not say so itself."""
    assert disturbed.listed_while_running["status"] == "training"
    assert disturbed.listed_after_kill["status"] == "interrupted"


def test_a_killed_driver_leaves_nothing_for_long(disturbed: DisturbedRun) -> None:
    """Its Ray's processes end by themselves; its folder, which nobody was left to remove, goes with the next run."""
    assert disturbed.after_kill == Leftovers(processes=[], folders=[])


def test_ctrl_c_stops_cleanly(disturbed: DisturbedRun) -> None:
    """Exit code 130, how to go on, status stopped, nothing left; in JSON mode an error document."""
    assert disturbed.interrupted.code == 130, disturbed.interrupted.err
    assert f"Continue with: graft run {_JOB}.yaml" in disturbed.interrupted.err
    assert "Traceback" not in disturbed.interrupted.err
    assert json.loads(disturbed.interrupted.out)["error"]["type"] == "KeyboardInterrupt"
    assert disturbed.status_after_interrupt == "stopped"
    assert disturbed.after_interrupt == Leftovers(processes=[], folders=[])


def test_jobs_stop_stops_cleanly(disturbed: DisturbedRun) -> None:
    """The command waits for the end; the run ends as by Ctrl-C."""
    assert disturbed.stop_command.code == 0, disturbed.stop_command.err
    assert f"stopped {_JOB}/" in disturbed.stop_command.out
    assert disturbed.stopped.code == 130, disturbed.stopped.err
    assert disturbed.status_after_stop == "stopped"
    assert disturbed.after_stop == Leftovers(processes=[], folders=[])


def test_the_run_goes_on_and_says_so(disturbed: DisturbedRun) -> None:
    """Every start after the first continues the one run, and tells."""
    for ended in (disturbed.interrupted, disturbed.stopped, disturbed.finished):
        assert "continuing the unfinished run" in ended.err
    assert disturbed.finished.code == 0, disturbed.finished.err
    assert disturbed.runs == 1


def test_the_outcome_is_that_of_an_undisturbed_run(disturbed: DisturbedRun, undisturbed: Ended) -> None:
    """Exactly the same test metrics, loss included."""
    assert disturbed.finished.json["metrics"] == undisturbed.json["metrics"]
