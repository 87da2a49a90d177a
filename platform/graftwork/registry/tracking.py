"""Training runs in MLflow, and the files that belong to them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.registry.mlflow_client import is_taken

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    from graftwork.settings import Settings

_RUN_TAG = "graftwork.run_id"
_REPORT_DIR = "report"
# Limits of MLflow: https://mlflow.org/docs/latest/rest-api.html#request-limits
_PARAMS_A_CALL = 100
_METRICS_A_CALL = 1000
_PARAM_LENGTH = 6000


class Tracking:
    """Runs of one MLflow server or database.

    Args:
        client: the client.
        settings: where an embedded registry keeps files.
    """

    def __init__(self, client: MlflowClient, settings: Settings) -> None:
        self._client = client
        self._settings = settings

    def track(
        self,
        job: str,
        run_id: str,
        spec: Mapping[str, Any],
        history: Sequence[Mapping[str, Any]],
        metrics: Mapping[str, float],
        report_dir: Path | None,
    ) -> str:
        """Record a run whole; one that was cut off before is replaced."""
        for earlier in self._runs(job, run_id):
            if earlier.info.status == "FINISHED":
                return str(earlier.info.run_id)
            self._client.delete_run(earlier.info.run_id)
        run = self.start(job, run_id)
        params = [_param(key, value) for key, value in flatten(spec)]
        for start in range(0, len(params), _PARAMS_A_CALL):
            self._client.log_batch(run, params=params[start : start + _PARAMS_A_CALL])
        rows = list(_metrics(history, metrics))
        for start in range(0, len(rows), _METRICS_A_CALL):
            self._client.log_batch(run, metrics=rows[start : start + _METRICS_A_CALL])
        if report_dir is not None:
            self.upload(run, report_dir, _REPORT_DIR)
        self.finish(run)
        return run

    def start(self, job: str, run_id: str) -> str:
        """Make a run and give the id MLflow chose."""
        run = self._client.create_run(self._experiment(job), run_name=run_id, tags={_RUN_TAG: run_id})
        return str(run.info.run_id)

    def finish(self, run: str) -> None:
        """Mark a run as complete."""
        self._client.set_terminated(run)

    def delete(self, run: str) -> None:
        """Take a run back."""
        self._client.delete_run(run)

    def artifact_uri(self, run: str, folder: str) -> str:
        """Where a folder of the run's files is."""
        return f"{str(self._client.get_run(run).info.artifact_uri).rstrip('/')}/{folder}"

    def upload(self, run: str, directory: Path, folder: str) -> None:
        """Copy a directory's content into a folder of the run's files."""
        self._client.log_artifacts(run, str(directory), folder)

    def download(self, uri: str, directory: Path) -> None:
        """Copy what is at `uri` into a directory."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        repository = get_artifact_repository(uri, tracking_uri=self._settings.tracking_uri)
        repository.download_artifacts("", dst_path=str(directory))

    def delete_artifacts(self, run: str, folder: str) -> None:
        """Remove a folder of the run's files, as far as it was written."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        uri = str(self._client.get_run(run).info.artifact_uri)
        repository = get_artifact_repository(uri, tracking_uri=self._settings.tracking_uri)
        if any(item.path == folder for item in repository.list_artifacts()):
            repository.delete_artifacts(folder)

    def _experiment(self, job: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(job)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(job, artifact_location=self._artifact_location(job)))
        except MlflowException as error:
            # Another process may have been first.
            found = self._client.get_experiment_by_name(job) if is_taken(error) else None
            if found is None:
                raise
            return str(found.experiment_id)

    def _artifact_location(self, job: str) -> str | None:
        """A database knows no place for files: they go into the local folder. A server decides for itself."""
        if self._settings.tracking_uri.startswith(("http://", "https://", "databricks")):
            return None
        return (self._settings.artifacts_dir / job).as_uri()

    def _runs(self, job: str, run_id: str) -> list[Any]:
        experiment = self._client.get_experiment_by_name(job)
        if experiment is None:
            return []
        return list(self._client.search_runs([experiment.experiment_id], f"tags.`{_RUN_TAG}` = '{run_id}'"))


def flatten(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested values by dotted path: `spec.phases.0.epochs`."""
    for key, value in content.items():
        path = f"{prefix}{key}"
        match value:
            case Mapping():
                yield from flatten(value, f"{path}.")
            case list() | tuple():
                yield from flatten({str(index): item for index, item in enumerate(value)}, f"{path}.")
            case _:
                yield path, value


def _param(key: str, value: object) -> Param:
    from mlflow.entities import Param

    return Param(key, str(value)[:_PARAM_LENGTH])


def _metrics(history: Sequence[Mapping[str, Any]], test: Mapping[str, float]) -> Iterator[Metric]:
    from mlflow.entities import Metric

    now_ms = int(time.time() * 1000)
    for step, epoch in enumerate(history):
        for name, value in epoch.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and name not in {"epoch", "phase"}:
                yield Metric(name, float(value), now_ms, step)
    for name, value in test.items():
        yield Metric(f"test/{name}", float(value), now_ms, max(0, len(history) - 1))
