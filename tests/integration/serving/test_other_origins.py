"""Pages of other origins that ask an endpoint, in a real browser, which knows what they may read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from graftwork.bundle.answers import ScoreAnswers
from graftwork.metrics import ServingMetrics
from graftwork_serving.routing import Arm
from graftwork_serving.web.app import EndpointApp
from graftwork_serving.web.messages import Receive, Scope, Send
from tests.support.bundles import picture_bytes
from tests.support.served import CONFIG, saying_app, saying_model, served

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

# Asks as an application would: with a key, which makes the browser ask first whether it may.
ASK = """async ([url, picture]) => {
  try {
    const headers = {"content-type": "image/png", "x-api-key": "k"};
    const answer = await fetch(url, {method: "POST", headers, body: new Uint8Array(picture)});
    return {status: answer.status, timing: answer.headers.get("server-timing"), body: await answer.json()};
  } catch (error) {
    return {error: String(error)};
  }
}"""


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    """An empty page of another origin."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": b"<!doctype html><title>another</title>"})


def allow(app: EndpointApp, *origins: str) -> None:
    arms = [Arm(reference=name, model=model.main) for name, model in app.service.models.items()]
    app.configure(CONFIG.model_copy(update={"allowed_origins": list(origins)}), arms)


def test_a_page_may_ask_where_its_origin_is_allowed(browser: Any, metrics: ServingMetrics, tmp_path: Path) -> None:
    """Its own origin or all; answers, refusals and headers can be read. Otherwise the browser keeps them to itself."""
    model = saying_model("kinds", ScoreAnswers(("rose", "tulip")), [0.75, 0.25])
    with saying_app([model], metrics, tmp_path) as app, served(app) as endpoint, served(page) as other:
        tab = browser.new_page()
        tab.goto(other)

        def ask(path: str = "/v1/endpoints/e/predict") -> Any:
            return tab.evaluate(ASK, [endpoint + path, list(picture_bytes(seed=1))])

        for origins in ([other], ["*"], ["https://app.example.com", other]):
            allow(app, *origins)
            answer = ask()
            assert answer["status"] == 200, origins
            assert answer["body"]["predictions"][0]["label"] == "rose"
            assert "predict" in answer["timing"]
            refused = ask("/v1/endpoints/e/predict?model=other")
            assert (refused["status"], "other" in refused["body"]["error"]) == (404, True)
        for origins in ([], ["https://app.example.com"]):
            allow(app, *origins)
            assert "Failed to fetch" in ask()["error"], origins
        tab.close()
