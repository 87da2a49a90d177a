"""`python -m graftwork_jobs.cluster_run FILE`: `graft run` as a pod's driver, which reports to the operator.

What it reports stands in a ConfigMap of the run's own. A failure that another try would repeat (a gate, a wrong spec)
is reported and ends the process well, so that no new cluster is made for it; every other failure is reported and ends
it badly, and KubeRay tries again as often as the spec allows.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graftwork.controller.run_report import RunReport
from graftwork.errors import GraftworkError, SpecError
from graftwork.settings import Settings, load_settings

_LOOK_EVERY_S = 5.0
_logger = logging.getLogger(__name__)
Send = Callable[[RunReport], None]


@dataclass(frozen=True, kw_only=True)
class ConfigMapReport:
    """Reports into a ConfigMap, in the name of the pod.

    Attributes:
        namespace: of the ConfigMap.
        name: of the ConfigMap.
    """

    namespace: str
    name: str

    def __call__(self, report: RunReport) -> None:
        """Replace what was reported before.

        Raises:
            TransientError: the API server does not answer.
            PermanentError: it refuses.
        """
        from graftwork.controller.in_pod import patch_config_map

        patch_config_map(self.namespace, self.name, report.model_dump_json(by_alias=True, exclude_none=True))


def run_and_report(file: Path, *, settings: Settings, send: Send) -> int:
    """Run the job in a file and report how far it is; the exit code of the process.

    Args:
        file: the job.
        settings: where runs, caches and the registry are.
        send: takes reports.
    """
    from graftwork.spec.fine_tune_job import FineTuneJob
    from graftwork.spec.load import load_only
    from graftwork_jobs.run import GateError

    try:
        job, _ = load_only(file, FineTuneJob)
        with _watched(settings, job.metadata.name, send):
            outcome = _run(job, file, settings)
    except (SpecError, GateError) as error:
        _logger.error("%s", error)
        reason = "GateRefused" if isinstance(error, GateError) else "InvalidSpec"
        send(RunReport(outcome="failed", reason=reason, message=str(error)))
        return 0
    except GraftworkError as error:
        _logger.error("%s", error)
        send(RunReport(outcome="running", reason="TrainingFailed", message=str(error)))
        return 1
    send(
        RunReport(
            outcome="succeeded",
            message=outcome.summary[0] if outcome.summary else "Succeeded.",
            run_id=outcome.run_id,
            metrics=outcome.metrics,
            model=outcome.model,
            version=outcome.version,
        )
    )
    return 0


def main() -> None:
    """Run as the pod's driver."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    settings = load_settings()
    if settings.report_to is None:
        raise SystemExit(
            "GRAFT_REPORT is not set: this is the driver of pods that the operator makes. Use `graft run`."
        )
    namespace, _, name = settings.report_to.partition("/")
    report = ConfigMapReport(namespace=namespace, name=name)
    raise SystemExit(run_and_report(Path(sys.argv[1]), settings=settings, send=report))


def _run(job: Any, file: Path, settings: Settings) -> Any:
    from graftwork.cli.console import make_reporter
    from graftwork.interrupts import sigterm_as_interrupt
    from graftwork_jobs.keras_setup import set_up_keras

    set_up_keras("tensorflow")
    from graftwork_jobs.run import run_job

    with sigterm_as_interrupt():
        return run_job(job, base_dir=file.parent, settings=settings, reporter=make_reporter("text"))


class _watched:  # noqa: N801 (reads as a statement)
    """Reports how far the newest run is, from its event log, until the block ends."""

    def __init__(self, settings: Settings, job: str, send: Send) -> None:
        self._settings, self._job, self._send = settings, job, send
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._last: RunReport | None = None

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_LOOK_EVERY_S):
            report = progress_report(self._settings, self._job)
            if report is None or report == self._last:
                continue
            try:
                self._send(report)
                self._last = report
            except GraftworkError as error:
                _logger.warning("Progress could not be reported: %s", error)


def progress_report(settings: Settings, job: str) -> RunReport | None:
    """How far the newest run of a job is; None before there is one."""
    from graftwork_jobs.events import read_events
    from graftwork_jobs.run_paths import read_state, runs_of

    runs = runs_of(settings, job)
    if not runs:
        return None
    state = read_state(runs[0])
    epochs = [event for event in read_events(runs[0].events_file) if event["kind"] == "epoch"]
    progress = "{phase} {epoch}/{epochs}".format(**epochs[-1]) if epochs else None
    return RunReport(
        outcome="running",
        stage=state.status,
        message=state.message or f"{state.status.capitalize()}.",
        progress=progress,
        run_id=runs[0].run_id,
    )


if __name__ == "__main__":
    main()
