from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from graftwork.settings import Settings
from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork_jobs import earlier_runs, run_paths
from graftwork_jobs.assessment import library_versions
from graftwork_jobs.earlier_runs import find_earlier_run, fingerprint, why_not_continued
from graftwork_jobs.run_paths import RunPaths, RunState
from tests.unit.jobs.example_jobs import job_with
from tests.unit.spec.examples import JOB


def planned(*, data: str = "d1", backbone: str = "b1") -> Any:
    """As far as it decides the weights."""
    return SimpleNamespace(plan=SimpleNamespace(data_digest=data, backbone={"digest": backbone}))


def digest(job: FineTuneJob, *, data: str = "d1", backbone: str = "b1") -> str:
    return fingerprint(job, planned(data=data, backbone=backbone))


@pytest.mark.parametrize(
    "change",
    [
        {"scaling": {"workers": 2, "maxFailures": 9}},
        {"evaluation": {"gates": [{"metric": "loss", "max": 3}]}},
        {"register": {"model": "other"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_does_not_decide_the_weights_does_not_start_a_new_run(change: dict[str, Any]) -> None:
    """A run can be continued with other workers, gates, names and caches."""
    assert digest(job_with(**change)) == digest(job_with())


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
        {"features": {"views": 3}},
        {"search": {"space": {"head.dropout": {"choice": [0, 0.5]}}}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_decides_the_weights_starts_a_new_run(change: dict[str, Any]) -> None:
    """Each section that changes the result changes the fingerprint."""
    assert digest(job_with(**change)) != digest(job_with())


def test_keeping_features_does_not_start_a_new_run() -> None:
    """Without views of its own a phase learns the same from features as from pictures."""
    assert digest(job_with(features={"cache": "none"})) == digest(job_with(features={"cache": "auto"}))


def test_how_many_trials_run_at_a_time_does_not_start_a_new_run() -> None:
    """It changes neither the trials nor which is the best."""
    space = {"head.dropout": {"choice": [0, 0.5]}}
    one, two = ({"space": space, "maxConcurrent": number} for number in (1, 2))
    assert digest(job_with(search=one)) == digest(job_with(search=two))
    assert digest(job_with(search={**one, "trials": 9})) != digest(job_with(search=one))


def test_changed_data_or_backbone_starts_a_new_run() -> None:
    """The same spec over other pictures or other weights is another job."""
    same = digest(job_with())
    assert digest(job_with(), data="d2") != same
    assert digest(job_with(), backbone="b2") != same


@pytest.mark.parametrize(("library", "decides"), [("tensorflow", True), ("numpy", True), ("openvino", False)])
def test_a_library_that_computes_the_weights_starts_a_new_run(
    library: str, decides: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of it may give other weights; one that only serves them does not."""
    before = digest(job_with())
    versions = {**library_versions("tensorflow"), library: "0.0.1"}
    monkeypatch.setattr(earlier_runs, "library_versions", lambda _: versions)
    assert (digest(job_with()) != before) == decides


def test_no_section_of_the_spec_is_forgotten() -> None:
    """Every section is known either to decide the weights or not to."""
    tested = {"scaling", "evaluation", "register_", "features", "kubernetes", "schedule"}
    tested |= {"task", "backbone", "input", "data", "augment", "head", "phases", "training", "search"}
    assert tested >= earlier_runs.DECIDING_SECTIONS
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
    earlier = find_earlier_run(settings, "flowers", "f")
    assert earlier is not None
    assert earlier.paths == paths
    assert not earlier.is_finished


def test_a_run_of_something_else_is_not_continued(settings: Settings) -> None:
    """An older run with the same fingerprint is, past newer ones of other specs."""
    pid = dead_pid()
    assert find_earlier_run(settings, "flowers", "f") is None
    wanted = make_run(settings, "r1", status="stopped", pid=pid)
    make_run(settings, "r2", status="stopped", pid=pid, fingerprint="other")
    earlier = find_earlier_run(settings, "flowers", "f")
    assert earlier is not None
    assert earlier.paths == wanted
    assert find_earlier_run(settings, "flowers", "third") is None


def test_the_newest_run_speaks(settings: Settings) -> None:
    """A finished one, even if an older one was left unfinished; an unfinished one that trains again, too."""
    make_run(settings, "r1", status="stopped", pid=dead_pid())
    finished = make_run(settings, "r2", status="succeeded", pid=dead_pid())
    earlier = find_earlier_run(settings, "flowers", "f")
    assert earlier is not None
    assert (earlier.paths, earlier.is_finished) == (finished, True)
    make_run(settings, "r3", status="failed", pid=dead_pid())
    earlier = find_earlier_run(settings, "flowers", "f")
    assert earlier is not None
    assert not earlier.is_finished


@pytest.mark.parametrize(
    ("change", "data", "said"),
    [
        ({"phases": [{**_SPEC["phases"][0], "epochs": 11}, _SPEC["phases"][1]]}, "d1", "phases[0].epochs (10, now 11)"),
        ({"head": {**_SPEC["head"], "dropout": 0.1}}, "d2", "head.dropout (0.2, now 0.1), the data changed"),
        ({"features": {"views": 3}}, "d1", "features.views (4, now 3) changed"),
        ({}, "d1", "the installed libraries changed"),
    ],
    ids=["spec", "spec and data", "views", "libraries"],
)
def test_an_unfinished_run_that_is_not_continued_is_told(
    settings: Settings, change: dict[str, Any], data: str, said: str
) -> None:
    """With what changed since: somebody thinks it goes on."""
    before = _run(settings, "20260101-000000-0000", "stopped")
    fresh = _run(settings, "20260102-000000-0000", "planned")
    told = why_not_continued(settings, fresh, job_with(**change), planned(data=data))
    assert told is not None
    assert before.run_id in told
    assert said in told
    run_paths.write_state(before, RunState(status="succeeded", fingerprint="f", pid=0))
    assert why_not_continued(settings, fresh, job_with(**change), planned(data=data)) is None


def _run(settings: Settings, run_id: str, status: Any) -> RunPaths:
    """A run of the example job on the data `d1`."""
    job = job_with()
    paths = RunPaths(root=run_paths.job_dir(settings, job.metadata.name) / run_id)
    paths.root.mkdir(parents=True)
    run_paths.write_state(paths, RunState(status=status, fingerprint="f", pid=0))
    run_paths.write_json(paths.spec_file, job.model_dump(mode="json", by_alias=True, exclude_none=True))
    run_paths.write_json(paths.plan_file, {"data_digest": "d1", "backbone": {"digest": "b1"}})
    return paths
