from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from graftwork.api_keys import ApiKey, KeyFile, new_key, utc_now, write_key_file
from graftwork.metrics import ServingMetrics
from graftwork_serving.access.callers import RefusedError
from graftwork_serving.access.guard import Guard
from graftwork_serving.access.key_store import KeyStore
from graftwork_serving.endpoint_config import AccessConfig
from graftwork_serving.web.admission import admit
from graftwork_serving.web.app import EndpointApp
from graftwork_serving.web.routes import Route, RouteKind
from graftwork_serving.work_pool import WorkPool
from tests.support.bundles import picture_bytes
from tests.unit.serving.test_app import PREDICT, ask, make_app

PICTURE = picture_bytes(seed=1)
INFER = "/v2/models/m/infer"


def write(folder: Path, *entries: ApiKey) -> Path:
    write_key_file(folder / "keys.yaml", KeyFile(keys=list(entries)))
    return folder / "keys.yaml"


def guard_of(folder: Path, *entries: ApiKey, open_metrics: bool = False) -> Guard:
    file = write(folder, *entries)
    return Guard(AccessConfig(keys_file=str(file), open_metrics=open_metrics), folder / "rates")


@pytest.fixture
def app(metrics: ServingMetrics, tmp_path: Path) -> Iterator[EndpointApp]:
    """An app with one model `m`."""
    pool = WorkPool(threads=1)
    yield make_app(pool, metrics, tmp_path)
    pool.close()


@pytest.mark.parametrize(
    "headers",
    [
        lambda key: {"Authorization": f"Bearer {key}"},
        lambda key: {"authorization": f"bearer  {key} "},
        lambda key: {"x-api-key": key},
        lambda key: {"X-Api-Key": key, "Authorization": "Basic aW5ncmVzczpvd24="},
    ],
)
def test_a_key_opens_in_the_usual_headers(
    app: EndpointApp, tmp_path: Path, headers: Callable[[str], dict[str, str]]
) -> None:
    """Also beside what an ingress puts into Authorization."""
    key, entry = new_key("ann")
    app.guard = guard_of(tmp_path, entry)
    assert ask(app, PICTURE, headers=headers(key))[0] == 200


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "no-key"),
        ({"Authorization": "Basic aTpt"}, "no-key"),
        ({"Authorization": "Bearer "}, "no-key"),
        ({"Authorization": "Bearer graft_000000000000_" + "x" * 43}, "unknown-key"),
        ({"x-api-key": "\xff\x00"}, "unknown-key"),
    ],
)
def test_without_a_key_nothing_is_read(
    app: EndpointApp, metrics: ServingMetrics, tmp_path: Path, headers: dict[str, str], reason: str
) -> None:
    """401 with the scheme, counted by reason, whatever the body is."""
    app.guard = guard_of(tmp_path, new_key("ann")[1])
    counted = metrics.refused.labels("e", reason)
    before = counted._value.get()
    status, answered, answer = ask(app, b"x" * 99_999, headers=headers)
    assert (status, answered[b"www-authenticate"]) == (401, b'Bearer realm="e"')
    assert "key" in answer["error"]
    assert counted._value.get() == before + 1


def test_everything_but_health_asks_for_a_key(app: EndpointApp, tmp_path: Path) -> None:
    """Metrics too, unless only this machine reaches them."""
    key, entry = new_key("ann")
    app.guard = guard_of(tmp_path, entry)
    gets = ("/", "/openapi.json", "/v2", "/v2/models/m", "/v2/models/m/ready", "/v1/models/m", "/v1/models/m/metadata")
    posts = (PREDICT, INFER, "/v1/models/m:predict", "/v1/models/m:classify", "/v1/models/m:regress")
    asked = {path: ask(app, b"", path=path, method="GET")[0] for path in gets}
    asked |= {path: ask(app, b"", path=path)[0] for path in posts}
    assert set(asked.values()) == {401}, asked
    for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"):
        assert ask(app, b"", path=path, method="GET")[0] == 200
    assert ask(app, b"", path="/metrics", method="GET")[0] == 401
    for path in gets:
        assert ask(app, b"", path=path, method="GET", headers={"x-api-key": key})[0] == 200
    assert app.guard.config.open_metrics is False


@pytest.mark.parametrize("kind", RouteKind, ids=lambda kind: kind.name)
def test_no_kind_of_route_is_forgotten(app: EndpointApp, tmp_path: Path, kind: RouteKind) -> None:
    """Whatever routes there will be: health is open, metrics where only this machine reaches them, nothing else is."""
    route = Route(kind=kind, name="m")
    scope = {"headers": [], "query_string": b""}
    for open_metrics in (True, False):
        guard = guard_of(tmp_path, new_key("ann")[1], open_metrics=open_metrics)
        try:
            asyncio.run(admit(guard, app.service, route, scope))
            is_open = True
        except RefusedError:
            is_open = False
        health = kind in {RouteKind.LIVE, RouteKind.READY}
        assert is_open == (health or (kind is RouteKind.METRICS and open_metrics))


def test_the_document_says_how_keys_are_sent(app: EndpointApp, tmp_path: Path) -> None:
    """Generated clients ask for them."""
    key, entry = new_key("ann")
    assert "security" not in ask(app, b"", path="/openapi.json", method="GET")[2]
    app.guard = guard_of(tmp_path, entry)
    document = ask(app, b"", path="/openapi.json", method="GET", headers={"x-api-key": key})[2]
    schemes = document["components"]["securitySchemes"]
    assert {next(iter(each)) for each in document["security"]} == set(schemes)
    assert "401" in document["paths"][PREDICT]["post"]["responses"]
    assert "security" not in document["paths"][PREDICT]["post"]
    assert document["paths"]["/readyz"]["get"]["security"] == [], "load balancers have no key"


def test_a_key_is_for_its_models(app: EndpointApp, tmp_path: Path) -> None:
    """On every route that names a model, also where none is named and the first one is meant; lists show no others."""
    key, entry = new_key("ann", models=["other"])
    app.guard = guard_of(tmp_path, entry)
    headers = {"x-api-key": key}
    for path in (PREDICT, PREDICT + "?model=m", INFER, "/v1/models/m:predict", "/v1/models/m/labels/x:classify"):
        assert ask(app, PICTURE, path=path, headers=headers)[0] == 403, path
    for path in ("/v2/models/m", "/v2/models/m/versions/1/ready", "/v1/models/m/metadata", "/v2/models/nowhere"):
        assert ask(app, b"", path=path, method="GET", headers=headers)[0] == 403, path
    for path in (PREDICT + "?model=other", "/v2/models/other/infer", "/v1/models/other:predict"):
        status, _, answer = ask(app, PICTURE, path=path, headers=headers)
        assert (status, answer["error"]) == (404, "There is no model 'other' at endpoint 'e'."), "tells no other names"
    assert ask(app, b"", path="/", method="GET", headers=headers)[2]["models"] == []
    mine, entry = new_key("ann", models=["m"])
    app.guard = guard_of(tmp_path, entry)
    assert ask(app, PICTURE, headers={"x-api-key": mine})[0] == 200
    # The last of several counts, for the guard as for the handler.
    assert ask(app, PICTURE, path=PREDICT + "?model=m&model=other", headers={"x-api-key": mine})[0] == 403


def test_a_key_that_asks_too_often_is_told_when_to_come_back(app: EndpointApp, tmp_path: Path) -> None:
    """429 with Retry-After; looking at models does not count."""
    key, entry = new_key("ann", requests_per_second=0.01, burst=2)
    app.guard = guard_of(tmp_path, entry)
    headers = {"x-api-key": key}
    assert [ask(app, PICTURE, headers=headers)[0] for _ in range(2)] == [200, 200]
    status, answered, _ = ask(app, PICTURE, headers=headers)
    assert status == 429
    assert 90 <= int(answered[b"retry-after"]) <= 100
    assert ask(app, b"", path="/v2/models/m", method="GET", headers=headers)[0] == 200


def test_an_expired_key_is_told_so(tmp_path: Path) -> None:
    """To the second; whoever does not hold it learns nothing of that."""
    now = utc_now()
    key, entry = new_key("ann", expires=now + timedelta(seconds=60))
    store = KeyStore(write(tmp_path, entry), clock=lambda: now)
    assert store.find(key).identity == entry.id
    now += timedelta(seconds=60)
    with pytest.raises(RefusedError, match="expired"):
        store.find(key)
    with pytest.raises(RefusedError, match="not known"):
        store.find(f"graft_{entry.id}_x")


def test_keys_are_rotated_without_a_restart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A new file counts, a broken or missing one does not, and the next whole one does again."""
    (old, first), (new, second) = new_key("ann"), new_key("ann")
    file = write(tmp_path, first)
    store = KeyStore(file)

    def known() -> list[bool]:
        store.look()
        return [_is_known(store, key) for key in (old, new)]

    write(tmp_path, first, second)
    assert known() == [True, True]
    write(tmp_path, second)
    assert known() == [False, True]
    file.write_text("keys: [broken")
    assert known() == [False, True]
    assert "stay as they were" in caplog.text
    file.unlink()
    assert known() == [False, True]
    write(tmp_path, first)
    assert known() == [True, False]


def _is_known(store: KeyStore, key: str) -> bool:
    try:
        store.find(key)
    except RefusedError:
        return False
    return True
