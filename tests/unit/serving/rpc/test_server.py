"""A real server on loopback, with an engine that needs no model."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2

from graftwork.metrics import ServingMetrics
from graftwork_serving.endpoint_config import GrpcConfig
from graftwork_serving.rpc.messages import SERVICE, methods
from graftwork_serving.rpc.server import start_server
from graftwork_serving.web.app import EndpointApp
from graftwork_serving.work_pool import PoolFullError, WorkPool
from tests.support.grpc_clients import ReflectedClient
from tests.unit.serving.test_app import FailingPool, make_app
from tests.unit.serving.test_repository import app_with_repository

TENSOR = {"name": "image", "datatype": "UINT8", "shape": [1, 4, 4, 3]}
Call = Callable[..., Awaitable[Any]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(
    pool: WorkPool,
    metrics: ServingMetrics,
    folder: Path,
    use: Callable[[str, Call], Awaitable[None]],
    *,
    app: EndpointApp | None = None,
) -> None:
    """Run a server, and `use` with its address and a way to call methods."""

    async def run() -> None:
        config = GrpcConfig(host="127.0.0.1", port=free_port())
        server = await start_server(app or make_app(pool, metrics, folder), config, max_request_bytes=10_000)
        address = f"{config.host}:{config.port}"
        try:
            async with grpc.aio.insecure_channel(address) as channel:

                async def call(method: str, **fields: Any) -> Any:
                    request, answer = methods()[method]
                    asked = channel.unary_unary(
                        f"/{SERVICE}/{method}",
                        request_serializer=request.SerializeToString,
                        response_deserializer=answer.FromString,
                    )
                    return await asked(request(**fields), timeout=10)

                await use(address, call)
        finally:
            await server.stop(0)

    asyncio.run(run())
    if not isinstance(pool, FailingPool):
        pool.close()


async def refused(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


def test_every_method_answers(metrics: ServingMetrics, tmp_path: Path) -> None:
    """State, metadata, and a prediction in the form it was asked in."""

    async def use(address: str, call: Call) -> None:
        assert (await call("ServerLive")).live
        assert (await call("ServerReady")).ready
        assert (await call("ModelReady", name="m", version="1")).ready
        assert (await call("ServerMetadata")).name == "graftwork"
        about = await call("ModelMetadata", name="m")
        assert (about.inputs[0].name, list(about.inputs[0].shape)) == ("image", [-1, 4, 4, 3])
        assert [output.name for output in about.outputs] == ["scores", "label"]
        answer = await call("ModelInfer", model_name="m", id="7", inputs=[TENSOR], raw_input_contents=[bytes(48)])
        assert (answer.id, answer.model_version) == ("7", "1")
        assert np.frombuffer(answer.raw_output_contents[0], "<f4").tolist() == [0.5, 0.5]
        typed = await call("ModelInfer", model_name="m", inputs=[TENSOR | {"contents": {"uint_contents": [0] * 48}}])
        assert list(typed.outputs[0].contents.fp32_contents) == [0.5, 0.5]

    serve(WorkPool(threads=1), metrics, tmp_path, use)


def test_refusals_have_codes_and_sentences(metrics: ServingMetrics, tmp_path: Path) -> None:
    """Wrong, unknown, too large; and the server answers on."""

    async def use(address: str, call: Call) -> None:
        wrong = await refused(call("ModelInfer", model_name="m", inputs=[TENSOR], raw_input_contents=[b"x"]))
        assert (wrong.code(), "expected 48" in str(wrong.details())) == (grpc.StatusCode.INVALID_ARGUMENT, True)
        explain = {"explain": {"string_param": "cam"}}
        unexplained = await refused(
            call("ModelInfer", model_name="m", inputs=[TENSOR], raw_input_contents=[bytes(48)], parameters=explain)
        )
        assert unexplained.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "no heat maps" in str(unexplained.details())
        for method, field in (("ModelInfer", "model_name"), ("ModelReady", "name"), ("ModelMetadata", "name")):
            unknown = await refused(call(method, **{field: "n"}))
            assert (unknown.code(), "'n'" in str(unknown.details())) == (grpc.StatusCode.NOT_FOUND, True)
        large = await refused(call("ModelInfer", model_name="m", inputs=[TENSOR], raw_input_contents=[bytes(100_000)]))
        assert large.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await call("ServerLive")).live

    serve(WorkPool(threads=1), metrics, tmp_path, use)


def test_a_full_queue_is_unavailable_with_pushback(metrics: ServingMetrics, tmp_path: Path) -> None:
    """Clients with a retry policy are told when to come back; requests are counted as HTTP's are."""

    async def use(address: str, call: Call) -> None:
        error = await refused(call("ModelInfer", model_name="m", inputs=[TENSOR], raw_input_contents=[bytes(48)]))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert dict(error.trailing_metadata())["grpc-retry-pushback-ms"] == "1000"

    counted = metrics.requests.labels("e", "m", "grpc", "503")
    before = counted._value.get()
    serve(FailingPool(PoolFullError()), metrics, tmp_path, use)
    assert counted._value.get() == before + 1


def test_a_bug_tells_nothing_of_the_inside(metrics: ServingMetrics, tmp_path: Path) -> None:
    """Whatever happens inside stays in the log."""

    async def use(address: str, call: Call) -> None:
        error = await refused(call("ModelInfer", model_name="m", inputs=[TENSOR], raw_input_contents=[bytes(48)]))
        assert error.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in str(error.details())

    serve(FailingPool(ZeroDivisionError("secret")), metrics, tmp_path, use)


def test_models_are_listed_loaded_and_unloaded(metrics: ServingMetrics, tmp_path: Path) -> None:
    """The protocol's repository calls, as over HTTP."""
    pool = WorkPool(threads=1)

    async def use(address: str, call: Call) -> None:
        async def states(**fields: Any) -> dict[str, str]:
            return {row.name: row.state for row in (await call("RepositoryIndex", **fields)).models}

        assert "model_repository" in (await call("ServerMetadata")).extensions
        assert await states() == {"m": "READY", "a": "UNAVAILABLE", "b": "UNAVAILABLE"}
        await call("RepositoryModelLoad", model_name="a")
        assert await states(ready=True) == {"m": "READY", "a": "READY"}
        await call("RepositoryModelUnload", model_name="a", parameters={"unload_dependents": {"bool_param": True}})
        assert await states(ready=True) == {"m": "READY"}
        for method, fields, code in (
            ("RepositoryModelUnload", {"model_name": "m"}, grpc.StatusCode.INVALID_ARGUMENT),
            ("RepositoryModelLoad", {"model_name": "x"}, grpc.StatusCode.NOT_FOUND),
            (
                "RepositoryModelLoad",
                {"model_name": "a", "parameters": {"config": {"string_param": "{}"}}},
                grpc.StatusCode.INVALID_ARGUMENT,
            ),
        ):
            error = await refused(call(method, **fields))
            assert error.code() is code, error.details()
        assert await states(ready=True) == {"m": "READY"}

    serve(pool, metrics, tmp_path, use, app=app_with_repository(pool, metrics, tmp_path))


def test_an_endpoint_without_a_repository_says_so(metrics: ServingMetrics, tmp_path: Path) -> None:
    """Not a method that is not implemented."""

    async def use(address: str, call: Call) -> None:
        for method in ("RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"):
            error = await refused(call(method))
            assert (error.code(), "loads no models" in str(error.details())) == (grpc.StatusCode.NOT_FOUND, True)

    serve(WorkPool(threads=1), metrics, tmp_path, use)


def test_health_and_reflection_are_the_standard_ones(metrics: ServingMetrics, tmp_path: Path) -> None:
    """A client that knows nothing but reflection can call; health knows the server and the service."""

    def ask(address: str) -> None:
        with ReflectedClient(address) as client:
            services = set(client.database.get_services())
            assert services == {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
            assert client.call("ModelReady", name="m").ready
            check = client.channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            for service in ("", SERVICE):
                answer = check(health_pb2.HealthCheckRequest(service=service), timeout=10)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING

    async def use(address: str, call: Call) -> None:
        await asyncio.to_thread(ask, address)

    serve(WorkPool(threads=1), metrics, tmp_path, use)


def test_servers_share_a_port_and_one_can_go(metrics: ServingMetrics, tmp_path: Path) -> None:
    """Two replicas listen on one port; when one stops, clients of the other do not notice."""

    async def use(address: str, call: Call) -> None:
        other_pool = WorkPool(threads=1)
        host, port = address.split(":")
        config = GrpcConfig(host=host, port=int(port))
        other = await start_server(make_app(other_pool, metrics, tmp_path), config, max_request_bytes=10_000)
        assert (await call("ServerLive")).live
        await other.stop(1)
        other_pool.close()
        for _ in range(5):
            async with grpc.aio.insecure_channel(address) as channel:
                request, answer = methods()["ServerLive"]
                asked = channel.unary_unary(
                    f"/{SERVICE}/ServerLive",
                    request_serializer=request.SerializeToString,
                    response_deserializer=answer.FromString,
                )
                assert (await asked(request(), timeout=10)).live

    serve(WorkPool(threads=1), metrics, tmp_path, use)
