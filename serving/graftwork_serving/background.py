"""Endpoints in processes of their own: starting one, telling it to follow its file, stopping it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

import psutil
from pydantic import TypeAdapter

from graftwork.endpoint_state import EndpointState, log_file, running_endpoint
from graftwork.errors import PermanentError
from graftwork.progress import Reporter
from graftwork.settings import Settings
from graftwork_serving.endpoint_config import ModelConfig
from graftwork_serving.foreground import check_place
from graftwork_serving.resolve import resolve_models
from graftwork_serving.spec_file import EndpointFile

_POLL_S = 0.1
_STOP_TIMEOUT_S = 90.0
_UPDATE_TIMEOUT_S = 300.0
_COMMAND = "from graftwork.cli.main import main; main()"
_MODELS = TypeAdapter(list[ModelConfig])


def serve_in_background(loaded: EndpointFile, *, settings: Settings, reporter: Reporter) -> EndpointState:
    """Start an endpoint that outlives this process; returns once it is ready.

    Its process starts Ray at once. Meanwhile this one looks for the models, for which it may have to import MLflow, and
    tells what it has found.

    Raises:
        SpecError: see `check_place` and `resolve_models`.
        BundleError: a bundle was changed.
        PermanentError: it ended before it was ready.
    """
    check_place(loaded, settings=settings)
    name = loaded.endpoint.metadata.name
    log = log_file(settings.endpoints_dir, name)
    settings.endpoints_dir.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    with log.open("ab") as stream:  # replicas write to its end, too
        process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, "serve", "--models-from-stdin", str(loaded.file)],
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    stdin = cast("IO[bytes]", process.stdin)
    try:
        with reporter.task(f"Start endpoint {name}", None):
            _tell(stdin, resolve_models(loaded.endpoint, base_dir=loaded.base_dir, settings=settings))
            return _wait_until_ready(process, name, log, settings)
    except BaseException:
        stdin.close()  # it may wait for the models still
        _end(process)
        raise


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that did not get to serve; what it said of that, if anything, is in its log."""
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tell(stdin: IO[bytes], models: list[ModelConfig]) -> None:
    # A process that has ended takes nothing any more; why it has stands in its log.
    with suppress(BrokenPipeError), stdin as stream:
        stream.write(_MODELS.dump_json(models))


def models_from(stream: IO[bytes]) -> list[ModelConfig]:
    """What `serve_in_background` tells the process it has started.

    Raises:
        PermanentError: it ended without telling anything.
    """
    told = stream.read()
    if not told:
        raise PermanentError("The command that started this endpoint ended before it had found the models.")
    return _MODELS.validate_json(told)


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
