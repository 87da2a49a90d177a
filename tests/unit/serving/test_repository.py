"""Models that are loaded when they are asked for."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graftwork.errors import PermanentError, RequestError
from graftwork.metrics import ServingMetrics
from graftwork.registry import Registry
from graftwork.settings import Settings
from graftwork.spec.inference_endpoint import InferenceEndpoint
from graftwork_serving.endpoint_config import ModelConfig, RepositoryConfig
from graftwork_serving.network import Head
from graftwork_serving.repository import ModelRepository, to_let_go, used_bytes
from graftwork_serving.resolve import offered_models
from graftwork_serving.routing import Arm
from graftwork_serving.served_model import ServedModel
from graftwork_serving.trunks import Trunk, TrunkedEngine
from graftwork_serving.web.app import EndpointApp
from graftwork_serving.work_pool import WorkPool
from tests.support.bundles import picture_bytes
from tests.support.small_bundles import make_small_bundle
from tests.unit.serving.models import FixedEngine, version
from tests.unit.serving.test_app import CONFIG, PREDICT

MEGABYTE = 1 << 20


def offered(*names: str, number: int = 1) -> list[ModelConfig]:
    return [
        ModelConfig(
            name=name,
            version=str(number),
            path=f"/bundles/{name}",
            digest=f"{name} {number}",
            reference=f"{name}@champion",
            source=f"{name}/{number}",
            alias="champion",
        )
        for name in names
    ]


class Loader:
    """Loads models that need no loading, each of three megabytes."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: PermanentError | None = None

    def __call__(self, config: ModelConfig) -> Arm:
        self.gate.wait(10)
        if self.error is not None:
            raise self.error
        self.loaded.append(f"{config.name} {config.version}")
        model = replace(version(config.version, name=config.name), weight_bytes=MEGABYTE)
        return Arm(reference=config.reference, model=model)


def repository_of(loader: Loader, *names: str, megabytes: int = 100) -> tuple[ModelRepository, list[None]]:
    shown: list[None] = []
    repository = ModelRepository(loader, lambda: shown.append(None))
    config = RepositoryConfig(models=offered(*names), memory_bytes=megabytes * MEGABYTE)
    asyncio.run(repository.follow(config, taken=[]))
    return repository, shown


def test_all_who_ask_for_a_model_wait_for_one_loading() -> None:
    """Ten requests at once load it once; one that gives up does not stop it for the others."""
    loader = Loader()
    repository, shown = repository_of(loader, "a", "b")
    loader.gate.clear()

    async def ask() -> None:
        asking = [asyncio.create_task(repository.ensure("a")) for _ in range(10)]
        await asyncio.sleep(0)
        asking[0].cancel()
        loader.gate.set()
        done = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(done[0], asyncio.CancelledError)
        assert done[1:] == [None] * 9

    asyncio.run(ask())
    assert (loader.loaded, len(shown)) == (["a 1"], 1)
    assert [arm.model.name for arm in repository.arms] == ["a"]


def test_the_model_asked_for_longest_ago_goes_first() -> None:
    """Three of three megabytes and more do not fit into eight: the one that was not asked again has to go."""
    loader = Loader()
    repository, _ = repository_of(loader, "a", "b", "c", megabytes=8)

    async def ask() -> None:
        for name in ("a", "b", "a", "c"):
            await repository.ensure(name)

    asyncio.run(ask())
    assert [arm.model.name for arm in repository.arms] == ["a", "c"]
    states = {row["name"]: row["state"] for row in repository.index(ready_only=False)}
    assert states == {"a": "READY", "b": "UNAVAILABLE", "c": "READY"}
    assert [row["name"] for row in repository.index(ready_only=True)] == ["a", "c"]


def test_what_cannot_be_loaded_is_refused_with_a_reason() -> None:
    """Unknown: 404 with a near name; damaged or too large: 409; and the next request tries anew."""
    loader = Loader()
    repository, _ = repository_of(loader, "flowers", megabytes=2)

    async def refused(name: str) -> RequestError:
        with pytest.raises(RequestError) as caught:
            await repository.ensure(name)
        return caught.value

    async def ask() -> None:
        unknown = await refused("flower")
        assert (unknown.status, "Did you mean `flowers`" in unknown.message) == (404, True)
        large = await refused("flowers")
        assert (large.status, "spec.repository.memory" in large.message) == (409, True)
        loader.error = PermanentError("secret place: damaged")
        damaged = await refused("flowers")
        assert (damaged.status, "secret" in damaged.message) == (409, False)

    asyncio.run(ask())
    assert repository.arms == []


def test_a_new_configuration_is_followed() -> None:
    """Another version of a loaded model is loaded, what is no longer offered goes, and a failure keeps the old one."""
    loader = Loader()
    repository, _ = repository_of(loader, "a", "b")

    async def follow() -> None:
        await repository.ensure("a")
        await repository.ensure("b")
        newer = RepositoryConfig(models=[*offered("a", number=2), *offered("c")], memory_bytes=100 * MEGABYTE)
        await repository.follow(newer, taken=["c"])
        assert [(arm.model.name, arm.model.version) for arm in repository.arms] == [("a", "2")]
        assert repository.names == ("a",)
        loader.error = PermanentError("damaged")
        await repository.follow(RepositoryConfig(models=offered("a", number=3), memory_bytes=MEGABYTE), taken=[])
        assert [arm.model.version for arm in repository.arms] == ["2"]

    asyncio.run(follow())


def test_a_trunk_that_several_share_counts_once() -> None:
    """Heads cost next to nothing; the trunk is paid for once and goes with the last of them only."""
    trunk = Trunk(FixedEngine((1, 0)), weight_bytes=10 * MEGABYTE)

    def on_trunk(name: str) -> ServedModel:
        engine = TrunkedEngine(trunk, Head(steps=(), weight_bytes=1000))
        return replace(version("1", name=name), engine=engine, weight_bytes=1000)

    one, many = [on_trunk("a")], [on_trunk(str(number)) for number in range(50)]
    assert used_bytes(one) > 10 * MEGABYTE
    assert used_bytes(many) - used_bytes(one) < 49 * MEGABYTE / 2
    models = {model.name: model for model in many}
    gone = to_let_go(models, used_bytes(many) - 2 * (used_bytes(many) - used_bytes(many[1:])))
    assert gone == ["0", "1"]


@pytest.fixture
def app(metrics: ServingMetrics, tmp_path: Path) -> Iterator[EndpointApp]:
    """An application with the model `m`, and `a` and `b` to be loaded."""
    pool = WorkPool(threads=1)
    yield app_with_repository(pool, metrics, tmp_path)
    pool.close()


def app_with_repository(pool: WorkPool, metrics: ServingMetrics, folder: Path) -> EndpointApp:
    app = EndpointApp(pool, metrics=metrics, metrics_dir=folder)
    fixed = Arm(reference="m@champion", model=version("1"))
    repository = ModelRepository(Loader(), lambda: app.configure(CONFIG, [fixed, *repository.arms]))
    config = RepositoryConfig(models=offered("a", "b"), memory_bytes=100 * MEGABYTE)
    asyncio.run(repository.follow(config, taken=["m"]))
    app.repository = repository
    app.configure(CONFIG, [fixed])
    return app


def call(
    app: EndpointApp, path: str, body: bytes = b"", *, query: bytes = b"", method: str = "POST"
) -> tuple[int, Any]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": query}
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])


def test_a_model_let_go_before_its_request_gets_on_is_loaded_again(
    app: EndpointApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another client unloads it, or a third model takes its room: that is no reason to say that there is none."""
    repository = app.repository
    assert repository is not None
    load, let_go = repository.ensure, repository.unload

    async def load_and_lose(name: str) -> None:
        await load(name)
        monkeypatch.setattr(repository, "ensure", load)
        await let_go(name)

    monkeypatch.setattr(repository, "ensure", load_and_lose)
    status, answer = call(app, PREDICT, picture_bytes(seed=1), query=b"model=a")
    assert (status, answer.get("model")) == (200, "a")


def test_models_are_listed_loaded_and_unloaded(app: EndpointApp) -> None:
    """The protocol's repository calls say what they do; what the spec names stays."""

    def states() -> dict[str, str]:
        status, rows = call(app, "/v2/repository/index")
        assert status == 200
        return {row["name"]: row["state"] for row in rows}

    assert states() == {"m": "READY", "a": "UNAVAILABLE", "b": "UNAVAILABLE"}
    assert call(app, "/v2/repository/models/a/load")[0] == 200
    assert states()["a"] == "READY"
    assert [row["name"] for row in call(app, "/v2/repository/index", b'{"ready": true}')[1]] == ["m", "a"]
    unload_as_triton_does = b'{"parameters": {"unload_dependents": false}}'
    assert call(app, "/v2/repository/models/a/unload", unload_as_triton_does)[0] == 200
    assert states()["a"] == "UNAVAILABLE"
    assert call(app, "/v2/repository/models/m/load")[0] == 200
    for path, body, status in (
        ("/v2/repository/models/m/unload", b"", 400),
        ("/v2/repository/models/x/load", b"", 404),
        ("/v2/repository/models/x/unload", b"", 404),
        ("/v2/repository/index", b'{"ready": 1}', 400),
        ("/v2/repository/index", b"{", 400),
        ("/v2/repository/models/a/load", b'{"parameters": {"config": "{}"}}', 400),
        ("/v2/repository/models/a/load", b'{"parameters": []}', 400),
    ):
        refused, answer = call(app, path, body)
        assert (refused, "error" in answer) == (status, True), path


def test_a_request_for_a_model_loads_it(app: EndpointApp) -> None:
    """Whichever way it is named; what may not be loaded is 404 as ever."""
    picture = picture_bytes(seed=1)
    status, answer = call(app, PREDICT, picture, query=b"model=a")
    assert (status, answer["model"]) == (200, "a")
    assert call(app, "/v2/models/b", method="GET")[1]["name"] == "b"
    assert {arm.model.name for arm in app.repository.arms} == {"a", "b"}  # type: ignore[union-attr]
    assert call(app, PREDICT, picture, query=b"model=c")[0] == 404
    assert call(app, PREDICT, picture)[1]["model"] == "m"


def test_registered_models_are_offered_by_name_and_alias(tmp_path: Path, settings: Settings) -> None:
    """Those that match a pattern and carry the alias, in the version behind it, without opening a bundle."""
    registry = Registry(settings)
    for seed, (name, alias) in enumerate(
        (("flowers-a", "champion"), ("flowers-b", None), ("cars", "champion"), ("flowers-c", "other"))
    ):
        registry.register(make_small_bundle(tmp_path / str(seed), seed=seed), name, alias)
    spec = {"models": [{"model": "x/1"}], "repository": {"models": ["flowers-*"]}}
    head = {"apiVersion": "graftwork.dev/v1alpha1", "kind": "InferenceEndpoint", "metadata": {"name": "e"}}
    (only,) = offered_models(InferenceEndpoint.model_validate({**head, "spec": spec}), settings)
    resolved = registry.resolve("flowers-a@champion")
    assert (only.name, only.version, only.source) == ("flowers-a", "1", "flowers-a/1")
    assert (Path(only.path), only.digest) == (resolved.path, resolved.digest)
