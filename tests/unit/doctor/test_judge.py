from __future__ import annotations

import pytest

from graftwork.doctor.judge import (
    GIB,
    Finding,
    InterruptedRun,
    Library,
    judge_cpus,
    judge_disk,
    judge_gpus,
    judge_haproxy,
    judge_home,
    judge_libraries,
    judge_memory,
    judge_port,
    judge_registry,
    judge_runs,
    judge_shared_memory,
    worst,
)

KERAS = Library(name="keras", pinned="3.15.1", installed="3.15.1")
OLD_KERAS = Library(name="keras", pinned="3.15.1", installed="3.6.0")
NO_KERAS = Library(name="keras", pinned="3.15.1", installed=None)
PILLOW = Library(name="pillow", pinned=None, installed="11.0")


@pytest.mark.parametrize(
    ("finding", "status", "fix"),
    [
        (judge_libraries("train", (KERAS, PILLOW)), "ok", ""),
        (judge_libraries("train", (OLD_KERAS, PILLOW)), "warning", "pip install 'graftwork[train]'"),
        (judge_libraries("train", (NO_KERAS, PILLOW)), "error", "pip install 'graftwork[train]'"),
        (judge_libraries("train", (NO_KERAS,)), "warning", "if this machine needs it"),
        (judge_libraries("", (NO_KERAS,)), "error", "--force-reinstall"),
        (judge_memory(16 * GIB, 8 * GIB), "ok", ""),
        (judge_memory(16 * GIB, 4 * GIB), "warning", "fewer workers"),
        (judge_memory(16 * GIB, 1 * GIB), "error", "fewer workers"),
        (judge_shared_memory(None), "ok", ""),
        (judge_shared_memory(64 * 1024**2), "warning", "--shm-size"),
        (judge_shared_memory(GIB), "ok", ""),
        (judge_cpus(1.5, 8), "ok", ""),
        (judge_gpus((), tensorflow=False, jax=False), "ok", ""),
        (judge_gpus(("H100",), tensorflow=False, jax=False), "warning", "graftwork[serve-gpu]"),
        (judge_gpus(("H100",), tensorflow=True, jax=True), "ok", ""),
        (judge_gpus(("H100",), tensorflow=False, jax=True), "ok", ""),
        (judge_disk("/h", 20 * GIB), "ok", ""),
        (judge_disk("/h", 2 * GIB), "warning", "GRAFT_HOME"),
        (judge_disk("/h", GIB // 2), "error", "GRAFT_HOME"),
        (judge_home("/h", None), "ok", ""),
        (judge_home("/h", "Permission denied"), "error", "GRAFT_HOME"),
        (judge_port(8000, None), "ok", ""),
        (judge_port(8000, "nginx (process 7)"), "warning", "spec.http.port"),
        (judge_haproxy(None, None), "ok", ""),
        (judge_haproxy("2.60.0", None), "warning", "graftwork[serve]"),
        (judge_haproxy("2.60.0", "2.8"), "ok", ""),
        (judge_runs(()), "ok", ""),
        (judge_runs((InterruptedRun(job="a", run_id="1", status="training"),)), "warning", "--restart"),
        (judge_registry("http://x", "refused"), "error", "MLFLOW_TRACKING_URI"),
        (judge_registry("sqlite:///x", None), "ok", ""),
    ],
)
def test_each_fact_gets_its_status_and_fix(finding: Finding, status: str, fix: str) -> None:
    """What is well needs no fix; everything else says what to do."""
    assert finding.status == status
    assert fix in finding.fix
    assert bool(finding.fix) == (status != "ok")


def test_limits_of_a_container_are_named() -> None:
    """Fewer usable cores than present ones are explained."""
    assert judge_cpus(1.5, 8).detail == "1.5 of 8 (limited by a control group or affinity)"
    assert judge_cpus(8, 8).detail == "8"


def test_the_worst_status_wins() -> None:
    """One error makes an error, else one warning a warning."""
    fine, warning, error = judge_home("/h", None), judge_port(1, "x"), judge_home("/h", "no")
    assert worst((fine,)) == "ok"
    assert worst((fine, warning)) == "warning"
    assert worst((warning, error, fine)) == "error"
