"""How far a run is, kept true in its folder however it ends: its status, and a line in its log of events."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from graftwork.errors import GraftworkError
from graftwork_jobs import run_paths
from graftwork_jobs.events import append_event
from graftwork_jobs.run_paths import RunPaths, RunState, RunStatus


class Recorder:
    """Writes the run's state; one place, so that status and events agree.

    Args:
        paths: of the run.
        fingerprint: of what goes into it.
    """

    def __init__(self, paths: RunPaths, fingerprint: str) -> None:
        self._paths = paths
        self._state = RunState(status="planned", fingerprint=fingerprint, pid=os.getpid())

    def __call__(self, status: RunStatus, message: str = "", **result: Any) -> None:
        """Write down where the run is now, and what is known of its result."""
        self._state = replace(
            self._state, status=status, message=message, updated_at=time.time(), result={**self._state.result, **result}
        )
        run_paths.write_state(self._paths, self._state)
        append_event(self._paths.events_file, "stage", stage=status, message=message)


@contextmanager
def recorded(paths: RunPaths, fingerprint: str) -> Iterator[Recorder]:
    """Keep the run's state true however the block ends.

    Args:
        paths: of the run.
        fingerprint: of what goes into it.
    """
    record = Recorder(paths, fingerprint)
    try:
        record("planned")
        yield record
    except KeyboardInterrupt:
        _record_if_possible(record, "stopped", "interrupted; the same command continues it")
        raise
    except GraftworkError as error:
        _record_if_possible(record, "failed", str(error))
        raise
    except Exception as error:
        _record_if_possible(record, "failed", f"{type(error).__name__}: {error}")
        raise


def _record_if_possible(record: Recorder, status: RunStatus, message: str) -> None:
    """Record an end; on a full disk the error that ended the run matters more than one about recording it."""
    with suppress(OSError):
        record(status, message)
