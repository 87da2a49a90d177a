from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graftwork.metrics import ServingMetrics
from graftwork.preprocess.image import ImageSpec
from graftwork_serving.answers import ScoreAnswers
from graftwork_serving.endpoint_config import ReplicaConfig
from graftwork_serving.inputs import PictureReader
from graftwork_serving.served_model import ServedModel
from graftwork_serving.web.app import EndpointApp
from graftwork_serving.work_pool import PoolFullError, Work, WorkPool
from tests.support.bundles import picture_bytes

CONFIG = ReplicaConfig(
    endpoint="e", models=[], max_batch_size=1, max_request_bytes=100_000, max_image_pixels=10_000, max_queued_requests=5
)
PREDICT = "/v1/endpoints/e/predict"


class HalfEngine:
    """Says one half for both labels."""

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


@pytest.fixture(scope="module")
def metrics() -> ServingMetrics:
    return ServingMetrics()


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
        app.configure(CONFIG, [model])
    return app


def ask(app: EndpointApp, body: bytes, *, path: str = PREDICT, parts: int = 1) -> tuple[int, dict[bytes, bytes], Any]:
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

    scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), json.loads(sent[1]["body"])


def test_a_body_in_parts_is_put_together(metrics: ServingMetrics, tmp_path: Path) -> None:
    """Chunks arrive one by one and make one picture; equal scores keep the order of the labels."""
    pool = WorkPool(threads=1)
    status, _, answer = ask(make_app(pool, metrics, tmp_path), picture_bytes(seed=1), parts=7)
    pool.close()
    assert status == 200
    assert answer["predictions"] == [{"label": "no", "score": 0.5, "scores": {"no": 0.5, "yes": 0.5}}]


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


def test_a_body_that_grows_beyond_the_limit_is_not_read_to_its_end(metrics: ServingMetrics, tmp_path: Path) -> None:
    """Reading stops at the first byte too many, and the connection is closed."""
    status, headers, _ = ask(make_app(FailingPool(ZeroDivisionError()), metrics, tmp_path), bytes(500_000), parts=50)
    assert (status, headers[b"connection"]) == (413, b"close")


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
