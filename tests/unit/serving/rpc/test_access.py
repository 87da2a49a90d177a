"""Keys over gRPC, asked of a real server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from graftwork.api_keys import ApiKey, new_key
from graftwork.metrics import ServingMetrics
from graftwork_serving.endpoint_config import GrpcConfig
from graftwork_serving.rpc.messages import SERVICE, methods
from graftwork_serving.rpc.server import start_server
from graftwork_serving.work_pool import WorkPool
from tests.unit.serving.access.test_guard import guard_of
from tests.unit.serving.rpc.test_server import TENSOR, free_port
from tests.unit.serving.test_app import make_app
from tests.unit.serving.test_repository import app_with_repository

INFER = {"model_name": "m", "inputs": [TENSOR], "raw_input_contents": [bytes(48)]}


def codes(
    entries: list[ApiKey], metrics: ServingMetrics, folder: Path, asked: list[tuple[str, dict[str, Any], str]]
) -> list[grpc.StatusCode]:
    """Statuses of calls: method, fields, key."""
    return [code for code, _ in answers(entries, metrics, folder, asked)]


def answers(
    entries: list[ApiKey], metrics: ServingMetrics, folder: Path, asked: list[tuple[str, dict[str, Any], str]]
) -> list[tuple[grpc.StatusCode, bytes]]:
    """Statuses and messages of calls: method, fields, key."""
    pool = WorkPool(threads=1)
    app = app_with_repository(pool, metrics, folder)

    async def run() -> list[tuple[grpc.StatusCode, bytes]]:
        app.guard = guard_of(folder, *entries)
        config = GrpcConfig(host="127.0.0.1", port=free_port())
        server = await start_server(app, config, max_request_bytes=10_000)
        found = []
        async with grpc.aio.insecure_channel(f"127.0.0.1:{config.port}") as channel:
            for method, fields, key in asked:
                if "/" in method:
                    request: Any = health_pb2.HealthCheckRequest()
                    call = channel.unary_unary(method, request_serializer=type(request).SerializeToString)
                else:
                    request = methods()[method][0](**fields)
                    call = channel.unary_unary(
                        f"/{SERVICE}/{method}", request_serializer=type(request).SerializeToString
                    )
                started = call(request, timeout=10, metadata=(("authorization", f"Bearer {key}"),) if key else ())
                code = await started.code()
                found.append((code, await started if code is grpc.StatusCode.OK else b""))
        await server.stop(0)
        pool.close()
        return found

    return asyncio.run(run())


def test_calls_need_a_key_and_health_none(metrics: ServingMetrics, tmp_path: Path) -> None:
    """Without a key, with a wrong one, with one for other models, with the right one."""
    (key, entry), (others, other_entry) = new_key("ann"), new_key("ben", models=["other"])
    no, ok = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.OK
    never = grpc.StatusCode.PERMISSION_DENIED
    asked: list[tuple[str, dict[str, Any], str, grpc.StatusCode]] = [
        ("ServerLive", {}, "", ok),
        ("ServerReady", {}, "", ok),
        ("/grpc.health.v1.Health/Check", {}, "", ok),
        ("ServerMetadata", {}, "", no),
        ("ModelReady", {"name": "m"}, "", no),
        ("ModelMetadata", {"name": "m"}, "wrong", no),
        ("ModelInfer", INFER, "", no),
        ("ModelInfer", INFER, key, ok),
        ("ModelMetadata", {"name": "m"}, key, ok),
        ("ServerMetadata", {}, others, ok),
        ("ModelInfer", INFER, others, never),
        ("ModelInfer", INFER | {"model_name": ""}, others, never),
        ("ModelReady", {"name": "m"}, others, never),
        ("ModelMetadata", {"name": ""}, others, never),
    ]
    found = codes([entry, other_entry], metrics, tmp_path, [each[:3] for each in asked])
    assert found == [each[3] for each in asked]


def test_a_key_that_asks_too_often_is_refused(metrics: ServingMetrics, tmp_path: Path) -> None:
    """Predictions only."""
    key, entry = new_key("ann", requests_per_second=0.01, burst=1)
    found = codes(
        [entry],
        metrics,
        tmp_path,
        [("ModelInfer", INFER, key), ("ModelInfer", INFER, key), ("ModelReady", {"name": "m"}, key)],
    )
    assert found == [grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OK]


def test_a_refused_message_is_not_waited_for(metrics: ServingMetrics, tmp_path: Path) -> None:
    """A client that announces a call and sends no message is refused all the same."""

    async def run() -> grpc.StatusCode:
        pool = WorkPool(threads=1)
        app = make_app(pool, metrics, tmp_path)
        app.guard = guard_of(tmp_path, new_key("ann")[1])
        config = GrpcConfig(host="127.0.0.1", port=free_port())
        server = await start_server(app, config, max_request_bytes=10_000)
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{config.port}") as channel:
                call = channel.stream_unary(f"/{SERVICE}/ModelInfer")(timeout=10)
                return await call.code()
        finally:
            await server.stop(0)
            pool.close()

    assert asyncio.run(run()) is grpc.StatusCode.UNAUTHENTICATED


def test_callers_see_and_load_their_models_only(metrics: ServingMetrics, tmp_path: Path) -> None:
    """In the repository's calls as everywhere."""
    key, entry = new_key("ann", models=["a"])
    asked: list[tuple[str, dict[str, Any], str]] = [
        ("RepositoryIndex", {}, key),
        ("RepositoryModelLoad", {"model_name": "a"}, key),
        ("RepositoryModelLoad", {"model_name": "b"}, key),
        ("RepositoryModelUnload", {"model_name": "m"}, key),
        ("RepositoryIndex", {}, ""),
    ]
    found = answers([entry], metrics, tmp_path, asked)
    never = grpc.StatusCode.PERMISSION_DENIED
    assert [code for code, _ in found] == [grpc.StatusCode.OK] * 2 + [never] * 2 + [grpc.StatusCode.UNAUTHENTICATED]
    rows = methods()["RepositoryIndex"][1].FromString(found[0][1]).models
    assert [row.name for row in rows] == ["a"]
