"""What a replica tells the cluster's own machinery, on a port of its own: there the endpoint's port asks for a key.

Metrics for Prometheus, and the versions it gave up for the operator.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from graftwork.controller.rollback_report import ROLLBACKS_PATH, RollbackReport
from graftwork.metrics import render_shared_metrics

METRICS_PATH = "/metrics"


class _Server(ThreadingHTTPServer):
    # Another replica in the pod, or the one before that is still going, may listen as well: both tell of all.
    allow_reuse_port = True
    daemon_threads = True


def open_cluster_port(
    metrics: Path, rollbacks: Callable[[], RollbackReport], *, host: str, port: int
) -> ThreadingHTTPServer:
    """Answer from a thread, for as long as this process lives or until `shutdown`.

    Args:
        metrics: directory in which the replicas of this machine share their metrics.
        rollbacks: what was given up; called from other threads.
        host: address to listen on.
        port: TCP port; 0 for any.

    Raises:
        OSError: the port is taken by something else.
    """
    from prometheus_client import CONTENT_TYPE_LATEST

    told: dict[str, tuple[str, Callable[[], bytes]]] = {
        METRICS_PATH: (CONTENT_TYPE_LATEST, lambda: render_shared_metrics(metrics)),
        ROLLBACKS_PATH: ("application/json", lambda: rollbacks().model_dump_json(by_alias=True).encode()),
    }

    class _Handler(BaseHTTPRequestHandler):
        # A client that never asks must not keep a thread.
        timeout = 10

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path not in told:
                self.send_error(404, explain=f"There are only {' and '.join(told)} here.")
                return
            content_type, tell = told[path]
            body = tell()
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class calls it
            """Say nothing: every scrape would be a line."""

    server = _Server((host, port), _Handler)
    threading.Thread(target=server.serve_forever, name="cluster-port", daemon=True).start()
    return server
