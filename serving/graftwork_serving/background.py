"""Endpoints in processes of their own: starting one, telling it to follow its file, stopping it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from graftwork.endpoint_state import EndpointState, log_file, running_endpoint
from graftwork.errors import PermanentError
from graftwork.progress import Reporter
from graftwork.settings import Settings
from graftwork_serving.foreground import check_endpoint
from graftwork_serving.spec_file import EndpointFile

_POLL_S = 0.1
_STOP_TIMEOUT_S = 90.0
_UPDATE_TIMEOUT_S = 300.0
_COMMAND = "from graftwork.cli.main import main; main()"


def serve_in_background(loaded: EndpointFile, *, settings: Settings, reporter: Reporter) -> EndpointState:
    """Start an endpoint that outlives this process; returns once it is ready.

    Raises:
        SpecError: see `check_endpoint`.
        PermanentError: it ended before it was ready.
    """
    check_endpoint(loaded, settings=settings)
    name = loaded.endpoint.metadata.name
    log = log_file(settings.endpoints_dir, name)
    settings.endpoints_dir.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, "serve", str(loaded.file)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with reporter.task(f"Start endpoint {name}", None):
            return _wait_until_ready(process, name, log, settings)
    except KeyboardInterrupt:
        process.terminate()
        process.wait(_STOP_TIMEOUT_S)
        raise


def stop_endpoint(state: EndpointState) -> None:
    """Let a running endpoint finish its requests and end; returns when it is gone.

    Raises:
        PermanentError: it did not end in time.
    """
    try:
        process = psutil.Process(state.pid)
        process.send_signal(signal.SIGTERM)
        process.wait(_STOP_TIMEOUT_S)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired as error:
        raise PermanentError(
            f"Endpoint {state.name} (process {state.pid}) did not end within {_STOP_TIMEOUT_S:.0f} s. "
            f"End it with: kill -9 {state.pid}"
        ) from error


def update_endpoint(state: EndpointState, *, settings: Settings) -> EndpointState:
    """Let a running endpoint read its file again and follow it; returns when it has.

    Raises:
        PermanentError: it could not, and goes on as before.
    """
    os.kill(state.pid, signal.SIGHUP)
    deadline = time.monotonic() + _UPDATE_TIMEOUT_S
    while time.monotonic() < deadline:
        now = running_endpoint(settings.endpoints_dir, state.name)
        if now is None:
            raise PermanentError(f"Endpoint {state.name} ended. Start it with: graft serve {state.spec_file}")
        if now.revision > state.revision:
            if now.last_error is not None:
                raise PermanentError(f"Endpoint {state.name} goes on as before. {now.last_error}")
            return now
        time.sleep(_POLL_S)
    raise PermanentError(f"Endpoint {state.name} did not follow its file within {_UPDATE_TIMEOUT_S:.0f} s.")


def _wait_until_ready(process: subprocess.Popen[bytes], name: str, log: Path, settings: Settings) -> EndpointState:
    # The process ends by itself if anything fails, so this loop ends too.
    while process.poll() is None:
        state = running_endpoint(settings.endpoints_dir, name)
        if state is not None and state.ready:
            return state
        time.sleep(_POLL_S)
    raise PermanentError(f"Endpoint {name} could not start:\n{log.read_text(errors='replace').strip()}")
