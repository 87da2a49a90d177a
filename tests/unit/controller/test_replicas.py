"""What the operator makes of answers that it cannot trust."""

from __future__ import annotations

import http.server
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from graftwork.controller.replicas import Replicas
from graftwork.errors import TransientError


@contextmanager
def _answering(*chunks: bytes, status: int = 200) -> Iterator[str]:
    """A server that says this to everyone; its HOST:PORT."""

    class _Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            for chunk in chunks:
                try:
                    self.wfile.write(chunk)
                except OSError:
                    return  # whoever asked has heard enough

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (as the base class calls it)
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_report_is_read() -> None:
    """Fields that a newer replica adds are left out."""
    entry = b'{"model": "a@b", "givenUp": "a/2", "serving": "a/1", "message": "slow", "since": 1}'
    with _answering(b'{"givenUp": [', entry, b"]}") as address:
        (found,) = Replicas().rollbacks(address).given_up
    assert (found.model, found.given_up, found.serving, found.message) == ("a@b", "a/2", "a/1", "slow")


@pytest.mark.parametrize(
    ("chunks", "status", "why"),
    [
        ((b"the word of another server",), 200, "the answer is no report"),
        ((b'{"givenUp": [{"model": "a"}]}',), 200, "the answer is no report"),
        ((b"no",), 404, "404"),
        ((b" " * 100_000,) * 4, 200, "more than 262144 bytes"),
    ],
)
def test_what_is_no_report_is_told_and_not_repeated(chunks: tuple[bytes, ...], status: int, why: str) -> None:
    """Nor is more read of it than a report may have."""
    with _answering(*chunks, status=status) as address, pytest.raises(TransientError, match=why) as caught:
        Replicas().rollbacks(address)
    assert "another server" not in str(caught.value)


def test_slow_words_are_not_waited_for() -> None:
    """However small each is: the time is that of the whole answer."""
    ticks = itertools.count()
    with _answering(*([b" "] * 5)) as address, pytest.raises(TransientError, match="longer than 2 s"):
        Replicas(clock=lambda: 3.0 * next(ticks)).rollbacks(address)


def test_nobody_there_is_told() -> None:
    """With what to look at."""
    with _answering() as address:
        pass
    with pytest.raises(TransientError, match="NetworkPolicy"):
        Replicas().rollbacks(address)
