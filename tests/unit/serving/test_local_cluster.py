"""What of a local endpoint's start can be told without Ray."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from graftwork.errors import PermanentError
from graftwork.spec.inference_endpoint import HttpListener
from graftwork_serving import local_cluster
from graftwork_serving.local_cluster import _reason, _wait_for_answer


@contextmanager
def answering(statuses: list[int]) -> Iterator[int]:
    """A server that answers with one status after the other, each taken off the list; gives its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses.pop(0))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class calls it
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_it_is_ready_when_a_request_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when something listens: as long as no replica can be reached, the answer is 503."""
    monkeypatch.setattr(local_cluster, "_POLL_S", 0)
    statuses = [503, 404, 200, 200]
    with answering(statuses) as port:
        _wait_for_answer(HttpListener(port=port))
    assert statuses == [200]


def test_an_endpoint_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the address."""
    monkeypatch.setattr(local_cluster, "_ANSWER_TIMEOUT_S", 0.05)
    with socket.socket() as silent:  # bound, and not listening
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        with pytest.raises(PermanentError, match=f"127.0.0.1:{port} did not answer"):
            _wait_for_answer(HttpListener(port=port))


def test_what_a_replica_said_is_told_without_its_traceback() -> None:
    """The last line of all messages that is an error's."""
    replica = (
        "Traceback:\n  File ...\ngraftwork.bundle.directory.BundleError: /b: golden example differs.\nSee the log."
    )
    application: Any = SimpleNamespace(deployments={"d": SimpleNamespace(message=replica)}, message="It failed.")
    assert _reason(application) == "The endpoint could not start: /b: golden example differs."
    layer = (
        "ValueError: Exception encountered when calling Dense.call().\n\n\x1b[1mShapes differ.\x1b[0m\n\nArguments: ..."
    )
    application.deployments["d"].message = layer
    assert _reason(application).endswith("when calling Dense.call(). Shapes differ.")
    silent: Any = SimpleNamespace(deployments={}, message="It failed.")
    assert _reason(silent) == "The endpoint could not start: It failed."
