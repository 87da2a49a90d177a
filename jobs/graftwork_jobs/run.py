"""A job from its spec to a registered bundle, top to bottom.

plan -> train on Ray -> evaluate -> gates -> report -> bundle -> registry. Every stage leaves its result in the run's
folder; a run that was cut off goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.errors import GraftworkError, PermanentError
from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork_jobs import run_paths
from graftwork_jobs.events import append_event
from graftwork_jobs.plan import PlannedJob, make_plan
from graftwork_jobs.run_paths import RunPaths, RunState, RunStatus

if TYPE_CHECKING:
    from graftwork.progress import Reporter
    from graftwork.settings import Settings


class JobBusyError(PermanentError):
    """Another process is working on the same job with the same spec and data."""


class GateError(PermanentError):
    """The model was trained but does not meet a gate; nothing was registered."""


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """What a run gave; plain values only.

    Attributes:
        job: its name.
        run_id: its run.
        metrics: of the test set.
        extra_metrics: of each further test set.
        baseline: test metrics of the same job on random weights, by test set; empty if not asked for.
        report: HTML file.
        bundle: directory.
        model: registered name, if any.
        version: registered version, if any.
        alias: alias that points to it, if any.
        summary: what to tell a person.
    """

    job: str
    run_id: str
    metrics: dict[str, float]
    extra_metrics: dict[str, dict[str, float]]
    baseline: dict[str, dict[str, float]]
    report: str
    bundle: str
    model: str | None
    version: str | None
    alias: str | None
    summary: tuple[str, ...]


def run_job(
    job: FineTuneJob, *, base_dir: Path, settings: Settings, reporter: Reporter, restart: bool = False
) -> RunOutcome:
    """Run a job to its end, or go on with its unfinished run.

    Args:
        job: the job spec.
        base_dir: where the spec's relative paths start.
        settings: where runs, caches and the registry are.
        reporter: told how far the work is.
        restart: start afresh although an unfinished run could be continued.

    Raises:
        SpecError: the job cannot work as it is.
        JobBusyError: another process is at it.
        GateError: trained, but not good enough.
        PermanentError: training failed for good, such as by a loss that is not a number.
    """
    planned = make_plan(job, base_dir=base_dir, settings=settings, reporter=reporter)
    for warning in planned.plan.warnings:
        reporter.warn(warning)
    fingerprint = _fingerprint(job, planned)
    paths = _unfinished_run(settings, job.metadata.name, fingerprint)
    if paths is not None and not restart:
        reporter.say(f"continuing the unfinished run {paths.run_id} (--restart starts over)")
    else:
        paths = run_paths.new_run(settings, job.metadata.name)
        reporter.say(f"run {paths.run_id} in {paths.root}")
    with _recorded(paths, fingerprint) as record:
        _write_inputs(paths, job, planned)
        return _Run(job, base_dir, settings, reporter, paths, planned, record).to_the_end()


class _Recorder:
    """Writes the run's state; one place, so that status and events agree."""

    def __init__(self, paths: RunPaths, fingerprint: str) -> None:
        self._paths = paths
        self._state = RunState(status="planned", fingerprint=fingerprint, pid=os.getpid())

    def __call__(self, status: RunStatus, message: str = "", **result: Any) -> None:
        self._state = replace(
            self._state, status=status, message=message, updated_at=time.time(), result={**self._state.result, **result}
        )
        run_paths.write_state(self._paths, self._state)
        append_event(self._paths.events_file, "stage", stage=status, message=message)


@contextmanager
def _recorded(paths: RunPaths, fingerprint: str) -> Iterator[_Recorder]:
    """Keep the run's state true however it ends."""
    record = _Recorder(paths, fingerprint)
    record("planned")
    try:
        yield record
    except KeyboardInterrupt:
        record("stopped", "interrupted; the same command continues it")
        raise
    except GraftworkError as error:
        record("failed", str(error))
        raise
    except Exception as error:
        record("failed", f"{type(error).__name__}: {error}")
        raise


def _fingerprint(job: FineTuneJob, planned: PlannedJob) -> str:
    """Same fingerprint, same weights: a run may only be continued with what decides them.

    The number of workers, gates and registration do not, so a run can be continued after changing those.
    """
    deciding = {"task", "backbone", "input", "data", "augment", "head", "phases", "training"}
    content = {
        "spec": job.spec.model_dump(mode="json", include=deciding),
        "data": planned.plan.data_digest,
        "backbone": planned.plan.backbone["digest"],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _unfinished_run(settings: Settings, job: str, fingerprint: str) -> RunPaths | None:
    """The newest run of the job if it has the same fingerprint and did not come to its end.

    Raises:
        JobBusyError: it is being worked on right now.
    """
    for paths in run_paths.runs_of(settings, job):
        state = run_paths.read_state(paths)
        if state.fingerprint != fingerprint:
            continue
        if state.status == "succeeded":
            return None
        if run_paths.is_driven(paths):
            raise JobBusyError(
                f"{job}: run {paths.run_id} is being worked on by process {state.pid}. "
                f"Wait for it, or end it with: graft jobs stop {job}"
            )
        return paths
    return None


def _write_inputs(paths: RunPaths, job: FineTuneJob, planned: PlannedJob) -> None:
    run_paths.write_json(paths.spec_file, job.model_dump(mode="json", by_alias=True, exclude_none=True))
    run_paths.write_json(paths.plan_file, planned.plan.as_dict())
    planned.index.save(paths.index_file)
