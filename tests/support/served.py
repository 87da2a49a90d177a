"""Endpoints for tests without Ray: the real application with models that are told what to say, behind a real server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.bundle.answers import Answers
from graftwork.metrics import ServingMetrics
from graftwork.preprocess.image import ImageSpec
from graftwork.preprocess.text import TextSpec
from graftwork_serving.endpoint_config import PageConfig, ReplicaConfig
from graftwork_serving.explain.explainer import Explainer, Explanation
from graftwork_serving.inputs import InputReader, PictureReader, TextInput
from graftwork_serving.routing import Arm
from graftwork_serving.served_model import Example, ServedModel
from graftwork_serving.web.app import EndpointApp
from graftwork_serving.web.messages import Receive, Scope, Send
from graftwork_serving.work_pool import WorkPool
from tests.unit.serving.models import FixedEngine

App = Callable[[Scope, Receive, Send], Any]
SIDE = 8
CONFIG = ReplicaConfig(
    endpoint="e",
    models=[],
    max_batch_size=4,
    max_request_bytes=100_000,
    max_image_pixels=1_000_000,
    max_queued_requests=9,
)


class TopLeft(Explainer):
    """Finds that all answers but those for the last label rest on the upper left quarter of a picture."""

    def __init__(self, labels: int) -> None:
        self._last = labels - 1

    def explain(self, pixels: NDArray[Any], column: int) -> Explanation:
        shares = np.asarray([[1, -1], [-1, -1]] if column < self._last else [[-1, -1], [-1, -1]], np.float32)
        return Explanation(method="class-activation-map", shares=shares)


def word_tokenizer() -> str:
    """The smallest tokenizer there is: words, of which it knows none."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1}, unk_token="[UNK]"))  # noqa: S106 (no password)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return str(tokenizer.to_str())


def saying_model(
    name: str,
    answers: Answers,
    values: Sequence[float],
    *,
    is_text: bool = False,
    examples: Sequence[Example] = (),
    explainer: Explainer | None = None,
) -> ServedModel:
    """A model that says the same of every example.

    Args:
        name: in URLs.
        answers: puts the values into words.
        values: what it says, one number a label.
        is_text: whether it takes texts rather than pictures.
        examples: to try it with.
        explainer: what finds out what its answers rest on.
    """
    reader: InputReader = (
        TextInput(TextSpec(tokenizer=word_tokenizer(), pad_id=0, max_tokens=16))
        if is_text
        else PictureReader(spec=ImageSpec(height=SIDE, width=SIDE), max_pixels=1_000_000)
    )
    return ServedModel(
        name=name,
        version="7",
        digest="0",
        answers=answers,
        reader=reader,
        engine=FixedEngine(values),
        golden_difference=0.0,
        examples=tuple(examples),
        explainer=explainer,
    )


@contextmanager
def saying_app(
    models: Sequence[ServedModel], metrics: ServingMetrics, folder: Path, *, page: PageConfig | None = None
) -> Iterator[EndpointApp]:
    """An endpoint named `e` with such models."""
    pool = WorkPool(threads=1)
    app = EndpointApp(pool, metrics=metrics, metrics_dir=folder)
    config = CONFIG.model_copy(update={"page": page or PageConfig()})
    app.configure(config, [Arm(reference=model.name, model=model) for model in models])
    try:
        yield app
    finally:
        pool.close()


@contextmanager
def served(app: App) -> Iterator[str]:
    """An ASGI application behind a server on this machine; gives its address."""
    import uvicorn

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def behind_prefix(app: App, prefix: str) -> App:
    """An application as an ingress shows it that takes a path prefix away."""

    async def ask(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(prefix):
            await app({**scope, "path": scope["path"].removeprefix(prefix) or "/"}, receive, send)
        else:
            await _answer(send, 404, b"nothing here")

    return ask


def behind_key(app: App, key: str) -> App:
    """An application that describes itself to all and answers the rest only to who has the key."""

    async def ask(scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        is_page = scope["path"] == "/" and b"text/html" in headers.get(b"accept", b"")
        if is_page or headers.get(b"authorization") == f"Bearer {key}".encode():
            await app(scope, receive, send)
        else:
            await _answer(send, 401, b'{"error": "This endpoint asks for an API key."}')

    return ask


async def _answer(send: Send, status: int, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})
