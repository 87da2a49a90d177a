from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from graftwork.errors import RequestError
from graftwork.metrics import ServingMetrics
from graftwork_serving.deadlines import allowed_s
from graftwork_serving.endpoint_config import GrpcConfig
from graftwork_serving.rpc.messages import SERVICE, methods
from graftwork_serving.rpc.server import start_server
from graftwork_serving.service import OverloadedError
from graftwork_serving.web.app import EndpointApp
from graftwork_serving.web.body_budget import BodyBudget
from graftwork_serving.work_pool import WorkPool
from tests.support.bundles import picture_bytes
from tests.unit.serving.rpc.test_server import TENSOR, free_port
from tests.unit.serving.test_app import PREDICT, HalfEngine, ask, make_app

PICTURE = picture_bytes(seed=1)


class HeldEngine(HalfEngine):
    """Computes nothing until it is let go, and counts what it then computes."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.examples = 0

    def predict(self, batch: np.ndarray, *, alone: bool = False) -> np.ndarray:
        self.entered.set()
        self.gate.wait(20)
        self.examples += len(batch)
        return super().predict(batch)


@pytest.fixture
def engine() -> HeldEngine:
    return HeldEngine()


@pytest.fixture
def app(engine: HeldEngine, metrics: ServingMetrics, tmp_path: Path) -> Iterator[EndpointApp]:
    """An app with one thread, whose engine is held."""
    pool = WorkPool(threads=1)
    made = make_app(pool, metrics, tmp_path)
    object.__setattr__(made.service.find(), "engine", engine)
    yield made
    engine.gate.set()
    pool.close()


@pytest.mark.parametrize(("asked", "seconds"), [(None, 60), (b"1.5", 1.5), (b"100", 60), (b"1e-3", 0.001)])
def test_a_client_may_ask_for_less_time(asked: bytes | None, seconds: float) -> None:
    """Never for more than the spec allows."""
    assert allowed_s(asked, most_s=60) == seconds


@pytest.mark.parametrize("asked", [b"", b"0", b"-1", b"nan", b"inf", b"soon", b"\xff", b"1,5"])
def test_what_is_no_time_is_refused(asked: bytes) -> None:
    """With a sentence, whatever the bytes are."""
    with pytest.raises(RequestError, match="x-request-timeout"):
        allowed_s(asked, most_s=60)


def test_expired_work_is_not_computed(app: EndpointApp, engine: HeldEngine) -> None:
    """504 while the only thread is busy; when it is free, only what somebody waits for is computed."""

    async def run() -> None:
        first = asyncio.create_task(_post(app))
        await asyncio.to_thread(engine.entered.wait, 20)
        late = await asyncio.gather(*(_post(app, (b"x-request-timeout", b"0.05")) for _ in range(4)))
        assert {status for status, _ in late} == {504}
        assert "0.05 seconds" in late[0][1]
        engine.gate.set()
        assert (await first)[0] == 200

    asyncio.run(run())
    app._pool.close()
    assert engine.examples == 1


def test_work_of_a_client_that_is_gone_is_not_computed(
    app: EndpointApp, engine: HeldEngine, metrics: ServingMetrics
) -> None:
    """Serve cancels the request; it is counted as such."""
    counted = metrics.requests.labels("e", "m", "plain", "499")
    before = counted._value.get()

    async def run() -> None:
        first = asyncio.create_task(_post(app))
        await asyncio.to_thread(engine.entered.wait, 20)
        gone = [asyncio.create_task(_post(app)) for _ in range(4)]
        await asyncio.sleep(0)  # each of them gets as far as the pool
        assert app._pool.waiting == 4
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        engine.gate.set()
        assert (await first)[0] == 200

    asyncio.run(run())
    app._pool.close()
    assert engine.examples == 1
    assert counted._value.get() == before + 4


def test_a_body_that_does_not_come_is_408(app: EndpointApp) -> None:
    """The sender was slow, not the endpoint."""

    async def run() -> tuple[int, str]:
        app.timeout_s = 0.05
        return await _post(app, never_ends=True)

    status, message = asyncio.run(run())
    assert (status, "did not come" in message) == (408, True)


def test_a_wrong_time_is_told(app: EndpointApp) -> None:
    """Before the body is read."""
    assert ask(app, PICTURE, headers={"x-request-timeout": "soon"})[0] == 400


async def _post(app: EndpointApp, *headers: tuple[bytes, bytes], never_ends: bool = False) -> tuple[int, str]:
    sent: list[Any] = []

    async def receive() -> Any:
        if never_ends:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": PICTURE}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": PREDICT, "headers": list(headers), "query_string": b""}
    await app(scope, receive, send)
    return sent[0]["status"], sent[1]["body"].decode()


@pytest.mark.parametrize("by_client", [True, False])
def test_grpc_deadlines_hold_on_both_sides(app: EndpointApp, engine: HeldEngine, *, by_client: bool) -> None:
    """A call's own deadline, and the spec's; in either case what waits behind is not computed."""

    async def run() -> None:
        config = GrpcConfig(host="127.0.0.1", port=free_port())
        server = await start_server(app, config, max_request_bytes=10_000)
        request, answer = methods()["ModelInfer"]
        content = request(model_name="m", inputs=[TENSOR], raw_input_contents=[bytes(48)])
        async with grpc.aio.insecure_channel(f"127.0.0.1:{config.port}") as channel:
            infer = channel.unary_unary(
                f"/{SERVICE}/ModelInfer",
                request_serializer=request.SerializeToString,
                response_deserializer=answer.FromString,
            )
            first = infer(content, timeout=20)
            await asyncio.to_thread(engine.entered.wait, 20)
            app.timeout_s = 20 if by_client else 0.05
            late = infer(content, timeout=0.2 if by_client else 20)
            assert await late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            # The server hears of the client's deadline by itself: a call after it comes in later.
            await channel.unary_unary(f"/{SERVICE}/ServerLive")(b"", timeout=20)
            waiting = [each for queue in app._pool._decoded.values() for each in queue]
            assert all(each.request.over for each in waiting)
            engine.gate.set()
            assert await first.code() is grpc.StatusCode.OK
        await server.stop(0)

    asyncio.run(run())
    app._pool.close()
    assert engine.examples == 1


def test_bodies_share_what_a_replica_may_hold() -> None:
    """What does not fit is an overload; what is over is given back, also after an error."""
    budget = BodyBudget()
    budget.most_bytes = 100
    with budget.share() as first:
        first.grow_to(40)
        first.grow_to(60)
        first.grow_to(10)
        with pytest.raises(OverloadedError), budget.share() as second:
            second.grow_to(41)
        with budget.share() as third:
            third.grow_to(40)
    with budget.share() as all_of_it:
        all_of_it.grow_to(100)
    budget.make_room_for(10**9)
    assert budget.most_bytes >= 4 * 10**9


def test_a_body_that_does_not_fit_is_not_read(app: EndpointApp, engine: HeldEngine) -> None:
    """503 with Retry-After."""
    engine.gate.set()
    app._bodies.most_bytes = 10
    status, headers, _ = ask(app, PICTURE)
    assert (status, headers[b"retry-after"]) == (503, b"1")
