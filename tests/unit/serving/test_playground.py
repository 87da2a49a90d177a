from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from graftwork.bundle.answers import ScoreAnswers
from graftwork.metrics import ServingMetrics
from graftwork_serving.endpoint_config import PageConfig
from graftwork_serving.served_model import Example
from graftwork_serving.web.playground.page import playground_page, wants_page
from tests.support.bundles import picture_bytes
from tests.support.served import saying_app, saying_model

BROWSER = b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def get(
    page: PageConfig, metrics: ServingMetrics, folder: Path, path: str = "/", *, accept: bytes = b"*/*"
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Answer to a GET request: status, headers and body."""
    picture = folder / "0.png"
    picture.write_bytes(picture_bytes(seed=1))
    example = Example(name="0.png", label="yes", path=picture)
    model = saying_model("m", ScoreAnswers(("no", "yes")), [0.5, 0.5], examples=[example])
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    target, _, query = path.partition("?")
    headers = [(b"accept", accept)]
    scope = {"type": "http", "method": "GET", "path": target, "headers": headers, "query_string": query.encode()}
    with saying_app([model], metrics, folder, page=page) as app:
        asyncio.run(app(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def test_the_root_is_a_page_for_browsers_and_data_for_others(metrics: ServingMetrics, tmp_path: Path) -> None:
    """The same address serves both, and caches are told what makes the difference."""
    status, headers, page = get(PageConfig(), metrics, tmp_path, accept=BROWSER)
    assert (status, headers[b"content-type"], headers[b"vary"]) == (200, b"text/html; charset=utf-8", b"accept")
    assert page.startswith(b"<!doctype html>")
    status, headers, data = get(PageConfig(), metrics, tmp_path)
    assert (status, headers[b"vary"]) == (200, b"accept")
    assert json.loads(data)["endpoint"] == "e"


def test_a_spec_can_do_without_the_page(metrics: ServingMetrics, tmp_path: Path) -> None:
    """Browsers then get what all others get."""
    _, headers, data = get(PageConfig(enabled=False), metrics, tmp_path, accept=BROWSER)
    assert headers[b"content-type"] == b"application/json"
    assert json.loads(data)["endpoint"] == "e"


@pytest.mark.parametrize("accept", [b"", b"*/*", b"application/json", b"text/*", b"text/html-x"])
def test_what_is_no_browser_gets_no_page(accept: bytes) -> None:
    """Only who names HTML gets it."""
    assert not wants_page(accept)
    assert wants_page(b"application/json, Text/HTML;q=0.9")


def test_the_policy_lets_the_page_run_its_own_script_and_nothing_else() -> None:
    """The digests are those of what stands in the document, and nothing is named that lies elsewhere."""
    page = playground_page()
    text, policy = page.body.decode(), dict(page.headers)[b"content-security-policy"].decode()
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<[^>]+\s(?:on\w+|style)=", text), "neither handlers nor styles within tags"
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(", text)


def test_the_page_is_small() -> None:
    """It loads at once through any connection."""
    assert len(playground_page().body) < 40_000


def test_examples_are_listed_and_fetched_where_the_spec_allows_it(metrics: ServingMetrics, tmp_path: Path) -> None:
    """Names, what is right, and the files, which a browser will only ever show."""
    allowed = PageConfig(examples=True)
    _, _, data = get(allowed, metrics, tmp_path, "/v1/endpoints/e/examples?model=m")
    assert json.loads(data) == {"model": "m", "examples": [{"name": "0.png", "label": "yes"}]}
    status, headers, content = get(allowed, metrics, tmp_path, "/v1/endpoints/e/examples/0.png")
    assert (status, headers[b"content-type"], content) == (200, b"image/png", picture_bytes(seed=1))
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert "examples" in json.loads(get(allowed, metrics, tmp_path)[2])["routes"]


@pytest.mark.parametrize("path", ["/v1/endpoints/e/examples", "/v1/endpoints/e/examples/0.png"])
def test_examples_are_test_data_and_stay_inside_by_default(metrics: ServingMetrics, tmp_path: Path, path: str) -> None:
    """They are neither listed nor fetched nor announced, and the refusal says what would allow it."""
    status, _, data = get(PageConfig(), metrics, tmp_path, path)
    assert status == 404
    assert "spec.playground.examples" in json.loads(data)["error"]
    assert "examples" not in json.loads(get(PageConfig(), metrics, tmp_path)[2])["routes"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/endpoints/e/examples/1.png", "no example '1.png'"),
        ("/v1/endpoints/e/examples/..", "no example '..'"),
        ("/v1/endpoints/x/examples", "no endpoint 'x'"),
        ("/v1/endpoints/e/examples?model=n", "no model 'n'"),
    ],
)
def test_examples_that_are_not_there(metrics: ServingMetrics, tmp_path: Path, path: str, words: str) -> None:
    """Only files that a bundle names can be had."""
    status, _, data = get(PageConfig(examples=True), metrics, tmp_path, path)
    assert status == 404
    assert words in json.loads(data)["error"]
