"""Metrics on a port of their own, for a cluster: there the endpoint's port asks for a key that Prometheus lacks."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from graftwork.metrics import render_shared_metrics

PATH = "/metrics"


class _Server(ThreadingHTTPServer):
    # Another replica in the pod, or the one before that is still going, may listen as well: both tell of all.
    allow_reuse_port = True
    daemon_threads = True


def start_metrics_server(directory: Path, *, host: str, port: int) -> ThreadingHTTPServer:
    """Answer `GET /metrics` from a thread, for as long as this process lives or until `shutdown`.

    Args:
        directory: which the replicas of this machine share.
        host: address to listen on.
        port: TCP port; 0 for any.

    Raises:
        OSError: the port is taken by something else.
    """
    from prometheus_client import CONTENT_TYPE_LATEST

    class _Handler(BaseHTTPRequestHandler):
        # A client that never asks must not keep a thread.
        timeout = 10

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != PATH:
                self.send_error(404, explain=f"There is only {PATH} here.")
                return
            body = render_shared_metrics(directory)
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE_LATEST)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class calls it
            """Say nothing: every scrape would be a line."""

    server = _Server((host, port), _Handler)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
