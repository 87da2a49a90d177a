"""What nobody should send, sent to a running endpoint: it answers 4xx, keeps replicas and memory, and goes on."""

from __future__ import annotations

import io
import json
import logging
import resource
import socket
import struct
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from graftwork.bundle.directory import Bundle
from graftwork.endpoint_state import EndpointState
from tests.integration.serving.conftest import free_port, serving, write_endpoint
from tests.support.bundles import picture_bytes
from tests.support.fuzz import Fuzzed, changed_bytes, requests_for, send_raw, statuses

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]
_LOGGER = logging.getLogger(__name__)
PICTURE = picture_bytes(seed=1)
PREDICT = "/v1/endpoints/small/predict"
KNOWN = {"model": "small", "version": "1", "label": "champion"}
RIGHT = Fuzzed(method="post", target=PREDICT, headers={"content-type": "image/png"}, body=PICTURE)
MOST_GROWTH = 1.05
LOST = 0


class Watched:
    """An endpoint under abuse, and what became of it."""

    def __init__(self, state: EndpointState, client: httpx.Client) -> None:
        self.client = client
        self.port = int(state.url.rpartition(":")[2])
        self.document: dict[str, Any] = client.get("/openapi.json").json()
        self.seen: Counter[int] = Counter()
        self._root = psutil.Process(state.pid)

    def replicas(self) -> dict[int, int]:
        """Resident memory of each replica, by process."""
        found = {}
        for process in self._root.children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it may end meanwhile
                if any("ServeReplica" in word for word in process.cmdline()):  # one that ended has no words
                    found[process.pid] = process.memory_info().rss
        return found

    def send(self, sent: bytes, *, patience_s: float) -> None:
        """Send bytes; no answer may be a failure of the endpoint."""
        for status in statuses(send_raw(self.port, sent, patience_s=patience_s)):
            self.seen[status] += 1
            assert status < 500, sent[:2000]

    def answers(self) -> None:
        """A right request is answered at once."""
        assert self.client.post(PREDICT, content=PICTURE, timeout=10).status_code == 200


@pytest.fixture
def watched(endpoint: EndpointState, client: httpx.Client) -> Iterator[Watched]:
    """The session's endpoint; afterwards it has the replicas it had, and answers."""
    found = Watched(endpoint, client)
    before = set(found.replicas())
    assert before
    yield found
    found.answers()
    assert set(found.replicas()) == before, "a replica was replaced"


def _abuse(watched: Watched, *, requests: int) -> None:
    """Send requests made from the document and as many made from bytes, half of `requests` each."""
    quiet = settings(
        max_examples=requests // 2,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large),
    )

    @quiet
    @given(requests_for(watched.document, known=KNOWN, picture=PICTURE))
    def from_document(request: Fuzzed) -> None:
        watched.send(request.raw(), patience_s=30)

    @quiet
    @given(changed_bytes(RIGHT))
    def from_bytes(sent: bytes) -> None:
        watched.send(sent, patience_s=0.2)

    from_document()
    from_bytes()


def test_no_request_makes_it_fail(watched: Watched) -> None:
    """Requests of every route of its own document, and changed bytes of a right one: 4xx at worst."""
    _abuse(watched, requests=240)
    assert {200, 400, 404, 405} <= set(watched.seen)


@pytest.mark.slow
def test_ten_thousand_requests_leave_no_trace(watched: Watched) -> None:
    """No 5xx, no replica replaced, and memory as it was after the first thousand."""
    _abuse(watched, requests=1_000)
    before = watched.replicas()
    _abuse(watched, requests=10_000)
    after = watched.replicas()
    _LOGGER.info("%s, memory grew by %s", watched.seen, [after[pid] / before[pid] - 1 for pid in before])
    assert sum(watched.seen.values()) > 9_000
    assert all(after[pid] <= before[pid] * MOST_GROWTH for pid in before)


def _png_of(width: int, height: int) -> bytes:
    """A true PNG of one colour: as many pixels as wished from few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = b"\0" * (1 + 3 * width)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def _zip_of_zeros(size_bytes: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(size_bytes))
    return stream.getvalue()


def test_bombs_do_not_go_off(watched: Watched) -> None:
    """Pictures that would unpack to gigabytes, and archives, are refused at once and cost no memory."""
    bomb = _png_of(7_000, 7_000)
    lying = bomb[:16] + struct.pack(">II", 65_000, 65_000) + bomb[24:]  # its checksum is wrong, too
    bodies = ((bomb, 413), (lying, None), (_zip_of_zeros(50_000_000), 400), (_zip_of_zeros(0), 400))
    before = watched.replicas()
    started = time.monotonic()
    for body, status in bodies:
        assert len(body) < 200_000, "small on the wire"
        answer = watched.client.post(PREDICT, content=body)
        assert answer.status_code in ({status} if status else {400, 413}), answer.text
    packed = {"content-encoding": "deflate", "content-type": "image/png"}
    assert watched.client.post(PREDICT, content=zlib.compress(PICTURE), headers=packed).status_code == 200
    assert watched.client.post(PREDICT, content=zlib.compress(bytes(100_000_000)), headers=packed).status_code == 413
    nested = b'{"inputs":' + b"[" * 90_000
    assert watched.client.post("/v2/models/small/infer", content=nested).status_code == 400
    assert time.monotonic() - started < 20
    after = watched.replicas()
    assert all(after[pid] - before[pid] < 50_000_000 for pid in before)


def test_a_megabyte_of_headers_is_refused(watched: Watched) -> None:
    """One header, many headers, or a first line of that size."""
    first = b"POST " + PREDICT.encode()
    for sent in (
        first + b" HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 1_000_000 + b"\r\n\r\n",
        first + b" HTTP/1.1\r\nhost: a\r\n" + b"".join(b"x-%d: a\r\n" % index for index in range(80_000)) + b"\r\n",
        first + b"?" + b"a" * 1_000_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
    ):
        assert set(statuses(send_raw(watched.port, sent))) <= {400, 414, 431}


def test_half_closed_and_dropped_connections_harm_nobody(watched: Watched) -> None:
    """Clients that say no more, or are gone in the middle of a request, do not hold anything."""
    whole = RIGHT.raw()
    for cut in (1, 20, len(whole) // 2, len(whole) - 1, len(whole)):
        assert all(status < 500 for status in statuses(send_raw(watched.port, whole[:cut], patience_s=0.1)))
        with closing(socket.create_connection(("127.0.0.1", watched.port), timeout=10)) as connection:
            connection.sendall(whole[:cut])
            # Closed with a reset, as when a client's machine goes away.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    watched.answers()


def test_a_thousand_connections_at_once_are_served(watched: Watched) -> None:
    """All are open at the same time, each asks once: every one gets its answer, or is told when to come back."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    whole = RIGHT.raw()
    with ExitStack() as stack:
        connections = [
            stack.enter_context(closing(socket.create_connection(("127.0.0.1", watched.port), timeout=60)))
            for _ in range(1_000)
        ]
        for connection in connections:
            connection.sendall(whole)
        heads = [_read_all(connection) for connection in connections]
    found = Counter(next(statuses(head)) for head in heads)
    assert set(found) <= {200, 503}, found
    assert found[200] >= 256
    assert all(b"retry-after" in head.lower() for head in heads if b" 503 " in head[:20])


def _read_all(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


@pytest.mark.slow
def test_slow_clients_do_not_hold_up_others(watched: Watched) -> None:
    """Two hundred that send a byte of their headers now and then are ended within seconds; others do not notice."""
    with ExitStack() as stack:
        slow = [
            stack.enter_context(closing(socket.create_connection(("127.0.0.1", watched.port), timeout=30)))
            for _ in range(200)
        ]
        started, latencies = time.monotonic(), []
        for byte in b"POST /v1/endpoi":
            for connection in slow:
                try:
                    connection.send(bytes([byte]))
                except OSError:
                    continue  # ended already
            asked = time.monotonic()
            watched.answers()
            latencies.append(time.monotonic() - asked)
            time.sleep(1)  # their pace is what makes them slow
        ended = [_read_all(connection) for connection in slow]
        _LOGGER.info("ended after %.1f s; others waited %.3f s", time.monotonic() - started, max(latencies))
    assert {next(statuses(received)) for received in ended} == {408}
    assert max(latencies) < 1


@pytest.mark.slow
def test_a_killed_replica_takes_its_own_requests_only(small_bundle: Bundle, tmp_path: Path) -> None:
    """Kill -9 of one of two replicas under load: what it was at is lost, nothing after that, and another takes over."""
    file = write_endpoint(
        tmp_path / "endpoint.yaml",
        small_bundle.path,
        port=free_port(),
        resources={"cpus": 0.5},
        autoscaling={"minReplicas": 2, "maxReplicas": 2},
    )
    with serving(file) as state, httpx.Client(base_url=state.url, timeout=30, trust_env=False) as client:
        watched, asked = Watched(state, client), Asked(state.url, clients=8)
        with asked:
            before = watched.replicas()
            assert len(before) == 2
            asked.for_seconds(2)
            victim, killed_at = next(iter(before)), time.monotonic()
            psutil.Process(victim).kill()
            while len([pid for pid in watched.replicas() if pid != victim]) < 2:
                assert time.monotonic() - killed_at < 60, "no replica in its place"
            started_s = time.monotonic() - killed_at
            asked.for_seconds(5)
        failed = [(moment - killed_at, status) for moment, status in asked.seen if status != 200]
        _LOGGER.info("a process in its place after %.1f s; %s of %s failed", started_s, failed, len(asked.seen))
    assert {status for _, status in failed} <= {502, LOST}
    assert len(failed) <= asked.clients, "more failed than were at the replica"
    assert all(moment < 5 for moment, _ in failed)
    assert len(asked.seen) > 100


@pytest.mark.slow
def test_a_killed_proxy_is_replaced(small_bundle: Bundle, tmp_path: Path) -> None:
    """Kill -9 of HAProxy: nobody listens until another one does, a few seconds later, and every answer is true."""
    file = write_endpoint(tmp_path / "endpoint.yaml", small_bundle.path, port=free_port())
    with serving(file) as state, httpx.Client(base_url=state.url, timeout=30, trust_env=False) as client:
        family = psutil.Process(state.pid).children(recursive=True)
        (proxy,) = [process for process in family if process.name() == "haproxy"]
        proxy.kill()
        killed_at, seen = time.monotonic(), Counter[int]()
        while not seen[200]:
            assert time.monotonic() - killed_at < 60, "no proxy in its place"
            try:
                seen[client.get("/v2/health/ready").status_code] += 1
            except httpx.TransportError:
                seen[LOST] += 1
            time.sleep(0.05)
        took_s = time.monotonic() - killed_at
        _LOGGER.info("answered again after %.1f s; %s", took_s, dict(seen))
    assert set(seen) <= {200, 503, LOST}
    assert took_s < 15


class Asked:
    """Clients that ask one request after the other, each on connections of its own, while a block runs."""

    def __init__(self, url: str, *, clients: int) -> None:
        self.clients = clients
        self.seen: list[tuple[float, int]] = []
        self._url = url
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def for_seconds(self, seconds: float) -> None:
        """Let them ask for some time."""
        self._over.wait(seconds)

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30, trust_env=False) as client:
            while not self._over.is_set():
                try:
                    status = client.post(PREDICT, content=PICTURE).status_code
                except httpx.TransportError:
                    status = LOST  # the connection ended instead
                self.seen.append((time.monotonic(), status))


def test_answers_of_refusals_are_json(watched: Watched) -> None:
    """Whatever is wrong, programs can read why."""
    for method, path, content in (
        ("GET", "/nowhere", b""),
        ("DELETE", PREDICT, b""),
        ("POST", PREDICT, b"no picture"),
        ("POST", "/v2/models/small/infer", b"{"),
    ):
        answer = watched.client.request(method, path, content=content)
        assert 400 <= answer.status_code < 500
        assert set(json.loads(answer.text)) == {"error"}
