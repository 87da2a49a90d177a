from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from graftwork.errors import PermanentError
from graftwork.settings import Settings
from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork_jobs import run, run_paths
from graftwork_jobs.run import JobBusyError, on_random_weights
from graftwork_jobs.run_paths import RunPaths, RunState
from tests.unit.spec.examples import JOB


def job_with(**spec: Any) -> FineTuneJob:
    """The example job with some sections of its spec replaced."""
    content = copy.deepcopy(JOB)
    content["spec"].update(spec)
    return FineTuneJob.model_validate(content)


def fingerprint(job: FineTuneJob, *, data: str = "d1", backbone: str = "b1") -> str:
    plan = SimpleNamespace(data_digest=data, backbone={"digest": backbone})
    return run._fingerprint(job, SimpleNamespace(plan=plan))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"scaling": {"workers": 2, "maxFailures": 9}},
        {"evaluation": {"gates": [{"metric": "loss", "max": 3}]}},
        {"register": {"model": "other"}},
        {"features": {"cache": "none"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_does_not_decide_the_weights_does_not_start_a_new_run(change: dict[str, Any]) -> None:
    """A run can be continued with other workers, gates, names and caches."""
    assert fingerprint(job_with(**change)) == fingerprint(job_with())


_SPEC = JOB["spec"]


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": {"name": "EfficientNetB1"}},
        {"input": {**_SPEC["input"], "resize": "crop"}},
        {"data": {**_SPEC["data"], "validation": {"fraction": 0.25}}},
        {"augment": _SPEC["augment"][:1]},
        {"head": {**_SPEC["head"], "hidden": [65]}},
        {"phases": [{**_SPEC["phases"][0], "epochs": 11}, _SPEC["phases"][1]]},
        {"training": {**_SPEC["training"], "seed": 8}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_decides_the_weights_starts_a_new_run(change: dict[str, Any]) -> None:
    """Each section that changes the result changes the fingerprint."""
    assert fingerprint(job_with(**change)) != fingerprint(job_with())


def test_changed_data_or_backbone_starts_a_new_run() -> None:
    """The same spec over other pictures or other weights is another job."""
    same = fingerprint(job_with())
    assert fingerprint(job_with(), data="d2") != same
    assert fingerprint(job_with(), backbone="b2") != same


def test_no_section_of_the_spec_is_forgotten() -> None:
    """Every section is known either to decide the weights or not to."""
    tested = {"scaling", "evaluation", "register_", "features"}
    tested |= {"task", "backbone", "input", "data", "augment", "head", "phases", "training"}
    assert set(type(job_with().spec).model_fields) == tested


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def make_run(settings: Settings, run_id: str, *, status: str, pid: int, fingerprint: str = "f") -> RunPaths:
    paths = RunPaths(root=run_paths.job_dir(settings, "flowers") / run_id)
    paths.root.mkdir(parents=True)
    run_paths.write_state(paths, RunState(status=status, fingerprint=fingerprint, pid=pid))  # type: ignore[arg-type]
    return paths


@pytest.mark.parametrize("status", ["planned", "training", "evaluating", "registering", "failed", "stopped"])
def test_an_unfinished_run_is_continued(status: str, settings: Settings) -> None:
    """Whatever it was doing when its process ended."""
    paths = make_run(settings, "r1", status=status, pid=dead_pid())
    assert run._unfinished_run(settings, "flowers", "f") == paths


def test_a_run_of_something_else_is_not_continued(settings: Settings) -> None:
    """An older run with the same fingerprint is, past newer ones of other specs."""
    pid = dead_pid()
    assert run._unfinished_run(settings, "flowers", "f") is None
    wanted = make_run(settings, "r1", status="stopped", pid=pid)
    make_run(settings, "r2", status="stopped", pid=pid, fingerprint="other")
    assert run._unfinished_run(settings, "flowers", "f") == wanted
    assert run._unfinished_run(settings, "flowers", "third") is None


def test_after_a_finished_run_comes_a_new_one(settings: Settings) -> None:
    """Even if an older one was left unfinished."""
    make_run(settings, "r1", status="stopped", pid=dead_pid())
    make_run(settings, "r2", status="succeeded", pid=dead_pid())
    assert run._unfinished_run(settings, "flowers", "f") is None


def test_a_run_that_is_worked_on_is_left_alone(settings: Settings) -> None:
    """The error names the process and the command that ends it."""
    make_run(settings, "r1", status="training", pid=os.getpid())
    with pytest.raises(JobBusyError, match=f"r1 is being worked on by process {os.getpid()}.*graft jobs stop flowers"):
        run._unfinished_run(settings, "flowers", "f")


def test_random_weights_change_nothing_else() -> None:
    """The counterpart of a job differs in the backbone's weights only, and the job itself stays as it was."""
    job = job_with()
    before = job.model_dump()
    counterpart = on_random_weights(job).model_dump()
    assert counterpart["spec"]["backbone"]["weights"] == "none"
    counterpart["spec"]["backbone"]["weights"] = before["spec"]["backbone"]["weights"]
    assert counterpart == before
    assert job.model_dump() == before


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), "stopped", "the same command continues it"),
        (PermanentError("It broke."), "failed", "It broke."),
        (ZeroDivisionError("oh"), "failed", "ZeroDivisionError: oh"),
    ],
)
def test_the_state_says_how_a_run_ended(error: BaseException, status: str, message: str, settings: Settings) -> None:
    """The error goes on to the caller and its text into the run's state."""
    paths = run_paths.new_run(settings, "flowers")
    with pytest.raises(type(error)), run._recorded(paths, "f"):
        raise error
    state = run_paths.read_state(paths)
    assert state.status == status
    assert message in state.message


def test_an_end_that_cannot_be_recorded_does_not_hide_why(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the user hears of what failed first."""
    paths = run_paths.new_run(settings, "flowers")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def fail() -> None:
        with run._recorded(paths, "f"):
            monkeypatch.setattr(run_paths, "write_state", full)
            raise PermanentError("first")

    with pytest.raises(PermanentError, match="first"):
        fail()


def test_the_event_log_tells_the_stages(settings: Settings, tmp_path: Path) -> None:
    """State and events agree."""
    from graftwork_jobs.events import read_events

    paths = run_paths.new_run(settings, "flowers")
    with run._recorded(paths, "f") as record:
        record("training")
        record("succeeded", "fine", version=3)
    assert [event["stage"] for event in read_events(paths.events_file)] == ["planned", "training", "succeeded"]
    assert run_paths.read_state(paths).result == {"version": 3}
