"""The edge to MLflow: making a quiet client, and turning its errors into ours."""

from __future__ import annotations

import logging
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from graftwork.errors import PermanentError, TransientError
from graftwork.settings import set_process_defaults

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    from graftwork.progress import Reporter
    from graftwork.settings import Settings

# MLflow reads these when it is imported and while it works: quiet, and nothing sent home.
_DEFAULTS: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # A server that is down is told after seconds, not after the four minutes of MLflow's own default.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
}
_RETRY_DELAY_S = 5.0


class RegistryError(PermanentError):
    """The registry refused or lost something."""


class RegistryUnavailableError(TransientError):
    """The registry does not answer."""


def connect(settings: Settings, reporter: Reporter) -> MlflowClient:
    """Make a client of the registry; makes the embedded database if this is its first use.

    Importing MLflow takes seconds and making the database a few more, so the latter is told.
    """
    set_process_defaults(_DEFAULTS)
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with registry_errors(settings):
        if settings.is_embedded_registry:
            _make_database(settings.home / "mlflow" / "mlflow.db", reporter)
        client = MlflowClient(tracking_uri=settings.tracking_uri, registry_uri=settings.tracking_uri)
        _touch(client)
        return client


def _make_database(database: Path, reporter: Reporter) -> None:
    """Make the embedded database if there is none.

    It is made under another name and appears whole: MLflow's own way leaves a broken database behind when it is cut
    off, and fails when two processes make it at the same time.
    """
    from mlflow import MlflowClient

    if database.exists():
        return
    reporter.say(f"making the model registry in {database} (once, a few seconds)")
    database.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=database.parent) as folder:
        draft, whole = Path(folder) / "draft.db", Path(folder) / "whole.db"
        uri = f"sqlite:///{draft}"
        _touch(MlflowClient(tracking_uri=uri, registry_uri=uri))
        # MLflow keeps the draft open; the copy is nobody's yet.
        with closing(sqlite3.connect(draft)) as source, closing(sqlite3.connect(whole)) as target:
            source.backup(target)
        with suppress(FileExistsError):  # another process was first: its database is as good
            database.hardlink_to(whole)


def _touch(client: MlflowClient) -> None:
    """Make MLflow open (and make) the tables of tracking and registry now rather than in the middle of work."""
    client.search_experiments(max_results=1)
    client.search_registered_models(max_results=1)


@contextmanager
def registry_errors(settings: Settings) -> Iterator[None]:
    """Turn MLflow's errors into sentences for the user.

    Raises:
        RegistryUnavailableError: no answer, or the server is overloaded.
        RegistryError: anything else.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        reason = str(error).strip().splitlines()[0]
        if _is_unavailable(error):
            raise RegistryUnavailableError(
                f"{settings.tracking_uri}: the model registry does not answer: {reason}. "
                "Check MLFLOW_TRACKING_URI and that the server runs.",
                delay_s=_RETRY_DELAY_S,
            ) from error
        raise RegistryError(f"{settings.tracking_uri}: the model registry reports: {reason}") from error


def is_missing(error: MlflowException) -> bool:
    """Whether the error says that the thing asked for does not exist."""
    return str(error.error_code) in {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}


def is_taken(error: MlflowException) -> bool:
    """Whether the error says that another process made the same thing first."""
    return str(error.error_code) in {"RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"}


def _is_unavailable(error: MlflowException) -> bool:
    text = str(error)
    return (
        str(error.error_code) in {"TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}
        or "database is locked" in text
        or "Max retries exceeded" in text
        or "exceeded with url" in text
        or "ConnectionError" in text
    )
