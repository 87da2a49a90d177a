"""Several versions of one model behind the HTTP application."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graftwork.metrics import BoundedLabels, ServingMetrics
from graftwork_serving.routing import Arm
from graftwork_serving.version_metrics import outcome_of
from graftwork_serving.web.app import EndpointApp
from graftwork_serving.work_pool import WorkPool
from tests.support.bundles import picture_bytes
from tests.unit.serving.models import version
from tests.unit.serving.test_app import CONFIG, PREDICT

PICTURE = picture_bytes(seed=1)
STICKY = CONFIG.model_copy(update={"sticky_header": "x-user-id"})


def make_app(metrics: ServingMetrics, folder: Path, pool: WorkPool) -> EndpointApp:
    app = EndpointApp(pool, metrics=metrics, metrics_dir=folder)
    arms = [
        Arm(reference="m@champion", model=version("1", alias="champion", scores=(1, 0)), traffic=50),
        Arm(reference="m@challenger", model=version("2", alias="challenger", scores=(0, 1)), traffic=50),
        Arm(reference="m/3", model=version("3", scores=(0.5, 0.5)), shadow=1.0),
    ]
    app.configure(STICKY, arms)
    return app


async def ask(
    app: EndpointApp, path: str, *, body: bytes = PICTURE, query: bytes = b"", user: str | None = None
) -> Any:
    sent: list[Any] = []
    headers = [] if user is None else [(b"x-user-id", user.encode())]
    method = "POST" if body else "GET"
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": query}

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return json.loads(sent[1]["body"])


@pytest.fixture
def pool() -> Iterator[WorkPool]:
    pool = WorkPool(threads=2)
    yield pool
    pool.close()


def test_a_client_keeps_to_its_version_whichever_protocol_it_speaks(
    metrics: ServingMetrics, tmp_path: Path, pool: WorkPool
) -> None:
    """One value of the sticky header, one version; many values reach both, and never the shadow."""
    app = make_app(metrics, tmp_path, pool)
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 4, 4, 3], "data": [0] * 48}
    infer = json.dumps({"inputs": [tensor]}).encode()

    async def both(user: str) -> tuple[str, str]:
        plain = await ask(app, PREDICT, user=user)
        tensors = await ask(app, "/v2/models/m/infer", body=infer, user=user)
        return plain["version"], tensors["model_version"]

    async def everyone() -> list[tuple[str, str]]:
        return [await both(f"user {index}") for index in range(40)]

    answers = asyncio.run(everyone())
    assert {first for first, _ in answers} == {"1", "2"}
    assert all(first == second for first, second in answers)


def test_a_named_version_is_reached_past_the_shares(metrics: ServingMetrics, tmp_path: Path, pool: WorkPool) -> None:
    """By `?version=`, by the version in a path, and by TensorFlow Serving's label; unknown ones are 404."""
    app = make_app(metrics, tmp_path, pool)

    async def answers() -> list[Any]:
        rows = json.dumps({"instances": [np.zeros((4, 4, 3), int).tolist()]}).encode()
        named = [await ask(app, PREDICT, query=b"version=%d" % number) for number in (1, 2, 3)]
        assert [each["version"] for each in named] == ["1", "2", "3"]
        return [
            await ask(app, "/v1/models/m/labels/challenger:predict", body=rows),
            await ask(app, "/v1/models/m/versions/1:predict", body=rows),
            await ask(app, PREDICT, query=b"version=9"),
            await ask(app, "/v2/models/m", body=b""),
        ]

    by_label, by_version, unknown, metadata = asyncio.run(answers())
    assert by_label["predictions"][0]["label"] == "yes"
    assert by_version["predictions"][0]["label"] == "no"
    assert "'1', '2', '3'" in unknown["error"]
    assert metadata["versions"] == ["1", "2", "3"]


def test_shadows_hear_of_requests_after_the_answer(metrics: ServingMetrics, tmp_path: Path, pool: WorkPool) -> None:
    """Every answered request is compared with the shadow once, and counted; answers are counted by version."""
    app = make_app(metrics, tmp_path, pool)

    def value(series: Any, *labels: str) -> float:
        return float(series.labels("e", "m", *labels)._value.get())

    agrees, answered = (metrics.shadow_examples, "3", "agrees"), (metrics.version_requests, "2", "ok")
    before = [value(*each) for each in (agrees, answered)]

    async def run() -> None:
        for _ in range(5):
            assert (await ask(app, PREDICT, query=b"version=2"))["version"] == "2"
        for _ in range(5):
            assert (await ask(app, PREDICT, query=b"version=1"))["version"] == "1"
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))

    asyncio.run(run())
    after = [value(*each) for each in (agrees, answered)]
    # The shadow finds both labels equally likely, and says the first: as version 1 does.
    assert [late - early for late, early in zip(after, before, strict=True)] == [5, 5]


def test_labels_are_bounded() -> None:
    """However many versions come by, series do not grow without end."""
    bounded = BoundedLabels(3)
    assert [bounded(value) for value in "abcabd"] == ["a", "b", "c", "a", "b", "other"]


def test_refusals_are_no_failures() -> None:
    """What the client can fix and what it can repeat later say nothing against a version."""
    assert [outcome_of(status) for status in (200, 400, 413, 503, 500)] == [
        "ok",
        "refused",
        "refused",
        "refused",
        "failed",
    ]
