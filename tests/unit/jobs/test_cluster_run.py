from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from graftwork.controller.run_report import RunReport
from graftwork.errors import PermanentError, Problem, SpecError
from graftwork.settings import Settings
from graftwork_jobs import cluster_run, run_paths
from graftwork_jobs.events import append_event
from graftwork_jobs.run import GateError

SPEC = """
apiVersion: graftwork.dev/v1alpha1
kind: FineTuneJob
metadata: {name: flowers}
spec:
  task: image-classification
  backbone: {name: ResNet50}
  data: {train: {uri: train}}
  phases: [{name: head, epochs: 1, learningRate: 0.001}]
"""
WRONG = SpecError(Problem(where="spec.data", received="nothing", expected="pictures", fix="Add some."))


@pytest.mark.parametrize(
    ("error", "code", "outcome", "reason"),
    [
        (WRONG, 0, "failed", "InvalidSpec"),
        (GateError("accuracy 0.4 < 0.9"), 0, "failed", "GateRefused"),
        (PermanentError("a worker died too often"), 1, "running", "TrainingFailed"),
    ],
)
def test_what_another_try_would_repeat_is_final(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    settings: Settings,
    error: Exception,
    code: int,
    outcome: str,
    reason: str,
) -> None:
    """Final failures end the process well, so that KubeRay makes no new cluster; others end it badly."""

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(cluster_run, "_run", fail)
    file = tmp_path / "job.yaml"
    file.write_text(SPEC)
    sent: list[RunReport] = []
    assert cluster_run.run_and_report(file, settings=settings, send=sent.append) == code
    assert (sent[-1].outcome, sent[-1].reason) == (outcome, reason)
    assert sent[-1].message == str(error)


def test_progress_is_read_from_the_run(settings: Settings) -> None:
    """The report tells phase and epoch of the newest run."""
    assert cluster_run.progress_report(settings, "flowers") is None
    paths = run_paths.new_run(settings, "flowers")
    run_paths.write_state(paths, run_paths.RunState(status="training", fingerprint="x", pid=1))
    append_event(paths.events_file, "epoch", phase="head", epoch=3, epochs=10)
    report = cluster_run.progress_report(settings, "flowers")
    assert report is not None
    assert (report.progress, report.run_id, report.stage) == ("head 3/10", paths.run_id, "training")
