from __future__ import annotations

import asyncio
import base64
import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graftwork.bundle.answers import ScoreAnswers
from graftwork.metrics import ServingMetrics
from graftwork.preprocess.image import ImageSpec
from graftwork.spec.engine import EngineName
from graftwork_serving.endpoint_config import ReplicaConfig
from graftwork_serving.inputs import PictureReader
from graftwork_serving.routing import Arm
from graftwork_serving.served_model import ServedModel
from graftwork_serving.web.app import EndpointApp
from graftwork_serving.work_pool import PoolFullError, Work, WorkPool
from tests.support.bundles import picture_bytes

CONFIG = ReplicaConfig(
    endpoint="e",
    models=[],
    max_batch_size=1,
    max_request_bytes=100_000,
    max_image_pixels=10_000,
    max_queued_requests=5,
    timeout_s=30,
)
PREDICT = "/v1/endpoints/e/predict"


class HalfEngine:
    """Says one half for both labels."""

    name: EngineName = "openvino"
    batch_size = 1

    def predict(self, batch: np.ndarray, *, alone: bool = False) -> np.ndarray:
        return np.full((len(batch), 2), 0.5, dtype=np.float32)


class FailingPool(WorkPool):
    """A pool that raises what it is given."""

    def __init__(self, error: Exception) -> None:
        super().__init__(threads=1)
        self._error = error

    async def predict(self, model: Work, examples: Any) -> np.ndarray:
        raise self._error


def make_app(pool: WorkPool, metrics: ServingMetrics, tmp_path: Path, *, configured: bool = True) -> EndpointApp:
    app = EndpointApp(pool, metrics=metrics, metrics_dir=tmp_path)
    model = ServedModel(
        name="m",
        version="1",
        digest="0",
        answers=ScoreAnswers(("no", "yes")),
        reader=PictureReader(spec=ImageSpec(height=4, width=4), max_pixels=10_000),
        engine=HalfEngine(),
        golden_difference=0.0,
    )
    if configured:
        app.configure(CONFIG, [Arm(reference="m@a", model=model)])
    return app


def ask(
    app: EndpointApp,
    body: bytes,
    *,
    path: str = PREDICT,
    parts: int = 1,
    method: str = "POST",
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[bytes, bytes], Any]:
    """Send one request, its body in some parts; gives status, headers and JSON."""
    size = -(-len(body) // parts)
    messages = [
        {"type": "http.request", "body": body[index * size : (index + 1) * size], "more_body": index < parts - 1}
        for index in range(parts)
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    path, _, query = path.partition("?")
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": method, "path": path, "headers": raw, "query_string": query.encode()}
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), json.loads(sent[1]["body"])


def test_a_body_in_parts_is_put_together(metrics: ServingMetrics, tmp_path: Path) -> None:
    """Chunks arrive one by one and make one picture; equal scores keep the order of the labels."""
    pool = WorkPool(threads=1)
    status, _, answer = ask(make_app(pool, metrics, tmp_path), picture_bytes(seed=1), parts=7)
    pool.close()
    assert status == 200
    assert answer["predictions"] == [{"label": "no", "score": 0.5, "scores": {"no": 0.5, "yes": 0.5}}]


def test_a_bad_example_among_others_is_named(metrics: ServingMetrics, tmp_path: Path) -> None:
    """By its place, from 0; of a lone one only what is wrong is said."""
    pool = WorkPool(threads=1)
    app = make_app(pool, metrics, tmp_path)
    good, bad = (base64.b64encode(each).decode() for each in (picture_bytes(seed=1), b"hello"))

    def refusal(*instances: str) -> tuple[int, str]:
        body = json.dumps({"instances": [{"b64": each} for each in instances]}).encode()
        status, _, answer = ask(app, body, path="/v1/models/m:predict")
        return status, answer["error"]

    assert refusal(good, bad, good) == (
        400,
        "Example [1] of 3: the bytes are no picture in a known format. Send a picture file such as JPEG, PNG or WebP.",
    )
    assert refusal(bad)[1].startswith("The bytes are no picture")
    pool.close()


def test_a_full_queue_is_503_with_retry_after(metrics: ServingMetrics, tmp_path: Path) -> None:
    """Clients are told when to come back."""
    status, headers, answer = ask(make_app(FailingPool(PoolFullError()), metrics, tmp_path), b"x")
    assert (status, headers[b"retry-after"]) == (503, b"1")
    assert "Try again" in answer["error"]


def test_a_bug_is_a_500_that_tells_nothing_of_the_inside(metrics: ServingMetrics, tmp_path: Path) -> None:
    """Whatever happens inside stays in the log."""
    status, _, answer = ask(make_app(FailingPool(ZeroDivisionError("secret")), metrics, tmp_path), b"x")
    assert status == 500
    assert "secret" not in answer["error"]
    assert "Traceback" not in answer["error"]


def _refused(
    metrics: ServingMetrics, tmp_path: Path, *, parts: int, path: str = PREDICT, length: int = 0
) -> tuple[int, int]:
    """Send parts of 10,000 bytes with the promise of more to come; gives status and how many parts were taken."""
    app = make_app(FailingPool(ZeroDivisionError()), metrics, tmp_path)
    taken = 0
    sent: list[Any] = []

    async def receive() -> Any:
        nonlocal taken
        if taken == parts:
            await asyncio.Event().wait()
        taken += 1
        return {"type": "http.request", "body": bytes(10_000), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-length", str(length).encode())] if length else []
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b""}
    asyncio.run(app(scope, receive, send))
    assert dict(sent[0]["headers"])[b"connection"] == b"close"
    return sent[0]["status"], taken


def test_a_refused_body_is_read_on_a_little_way(metrics: ServingMetrics, tmp_path: Path) -> None:
    """A megabyte of it at most, whether it is too large or not asked for: the ingress keeps the connection."""
    status, taken = _refused(metrics, tmp_path, parts=1000)
    assert status == 413
    assert 100 < taken < 150
    status, taken = _refused(metrics, tmp_path, parts=1000, path="/nowhere")
    assert status == 404
    assert 100 < taken < 110


def test_a_refused_body_is_not_waited_for(
    metrics: ServingMetrics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is declared large is not read at all; one that does not come is given up."""
    assert _refused(metrics, tmp_path, parts=1000, length=10**9) == (413, 0)
    monkeypatch.setattr("graftwork_serving.web.rest_of_body._LONGEST_S", 0.05)
    assert _refused(metrics, tmp_path, parts=3, path="/nowhere") == (404, 3)


def test_requests_before_the_models_are_loaded_are_503(metrics: ServingMetrics, tmp_path: Path) -> None:
    """Not ready is told apart from wrong."""
    app = make_app(FailingPool(ZeroDivisionError()), metrics, tmp_path, configured=False)
    assert ask(app, b"x")[0] == 503


def test_a_client_that_hangs_up_is_no_failure(metrics: ServingMetrics, tmp_path: Path) -> None:
    """Half a body is the client's affair: 400, not 500."""
    app = make_app(FailingPool(ZeroDivisionError()), metrics, tmp_path)
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": PREDICT, "headers": [], "query_string": b""}
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 400


def test_pages_of_allowed_origins_are_told_so(metrics: ServingMetrics, tmp_path: Path) -> None:
    """Before they ask, without a key, and with the answer; others and the rest of the world get nothing of it."""
    pool = WorkPool(threads=1)
    app = make_app(pool, metrics, tmp_path)
    page, other = "https://app.example.com", "https://evil.example.com"
    model = app.service.models["m"].main
    app.configure(CONFIG.model_copy(update={"allowed_origins": [page]}), [Arm(reference="m@a", model=model)])

    def preflight(origin: str) -> tuple[int, dict[bytes, bytes]]:
        asked = {
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        }
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        raw = [(name.encode(), value.encode()) for name, value in asked.items()]
        scope = {"type": "http", "method": "OPTIONS", "path": PREDICT, "headers": raw, "query_string": b""}
        asyncio.run(app(scope, receive, send))
        return sent[0]["status"], dict(sent[0]["headers"])

    status, headers = preflight(page)
    assert (status, headers[b"access-control-allow-origin"]) == (200, page.encode())
    assert headers[b"access-control-allow-headers"] == b"authorization,content-type"
    status, headers = preflight(other)
    assert (status, b"access-control-allow-origin" in headers) == (400, False)
    for origin, allowed in ((page, page.encode()), (other, None), (None, None)):
        sent = {} if origin is None else {"origin": origin}
        status, headers, _ = ask(app, picture_bytes(seed=1), headers=sent)
        assert (status, headers.get(b"access-control-allow-origin")) == (200, allowed)
    pool.close()


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "GZIP", "identity"])
def test_a_compressed_body_is_unpacked(metrics: ServingMetrics, tmp_path: Path, encoding: str) -> None:
    """Whole or in parts, of every protocol."""
    packs: dict[str, Callable[[bytes], bytes]] = {"deflate": zlib.compress, "identity": bytes}
    pack = packs.get(encoding, gzip.compress)
    pool = WorkPool(threads=1)
    app = make_app(pool, metrics, tmp_path)
    sent = {"content-encoding": encoding}
    status, _, answer = ask(app, pack(picture_bytes(seed=1)), parts=5, headers=sent)
    assert (status, answer["predictions"][0]["label"]) == (200, "no")
    body = json.dumps({"instances": [[[[0, 0, 0]] * 4] * 4]}).encode()
    status, _, answer = ask(app, pack(body), path="/v1/models/m:predict", headers=sent)
    assert (status, answer["predictions"][0]["scores"]) == (200, [0.5, 0.5])
    pool.close()


def test_a_compressed_body_keeps_to_the_limit_unpacked(metrics: ServingMetrics, tmp_path: Path) -> None:
    """A gigabyte of zeros takes no more memory than a request may; what is held is given back."""
    stream = zlib.compressobj()
    zeros = bytes(1 << 20)
    bomb = b"".join([*(stream.compress(zeros) for _ in range(64)), stream.flush()])
    assert len(bomb) < CONFIG.max_request_bytes, "small on the wire"
    pool = WorkPool(threads=1)
    app = make_app(pool, metrics, tmp_path)
    tracemalloc.start()
    status, _, answer = ask(app, bomb, headers={"content-encoding": "deflate"})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (status, "unpacks to" in answer["error"]) == (413, True)
    assert peak < 8 << 20
    assert app._bodies._held_bytes == 0
    pool.close()


def test_a_body_that_is_not_compressed_as_it_says_is_refused(metrics: ServingMetrics, tmp_path: Path) -> None:
    """Not compressed at all, in another format, cut off, followed by something, in a way that is not known."""
    pool = WorkPool(threads=1)
    app = make_app(pool, metrics, tmp_path)
    packed = gzip.compress(picture_bytes(seed=1))
    for body, encoding, status, part in (
        (picture_bytes(seed=1), "gzip", 400, "no whole gzip data"),
        (packed, "deflate", 400, "no whole deflate data"),
        (packed[:-9], "gzip", 400, "its end is missing"),
        (b"", "gzip", 400, "its end is missing"),
        (packed * 2, "gzip", 400, "behind its end"),
        (packed, "br", 415, "expected gzip or deflate"),
        (packed, "gzip, gzip", 415, "expected gzip or deflate"),
    ):
        refused, _, answer = ask(app, body, headers={"content-encoding": encoding})
        assert (refused, part in answer["error"]) == (status, True), answer
    pool.close()
