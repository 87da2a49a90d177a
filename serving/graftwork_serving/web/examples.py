"""Examples to try a model with: which there are, and the files themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import PurePath
from typing import Final

from graftwork.errors import RequestError
from graftwork_serving.service import PredictionService
from graftwork_serving.web.messages import HttpResponse, json_response
from graftwork_serving.web.routes import Route, RouteKind, examples_path

# Types that a browser shows and never runs.
_TYPES: Final = {
    ".bmp": b"image/bmp",
    ".gif": b"image/gif",
    ".jpeg": b"image/jpeg",
    ".jpg": b"image/jpeg",
    ".png": b"image/png",
    ".txt": b"text/plain; charset=utf-8",
    ".webp": b"image/webp",
}
_AS_DATA: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; sandbox"),
)


async def answer_examples(service: PredictionService, route: Route, query: Mapping[str, list[str]]) -> HttpResponse:
    """`GET /v1/endpoints/NAME/examples`, and `.../examples/FILE`.

    Raises:
        RequestError: no such endpoint, model or example (404).
    """
    if route.name != service.endpoint:
        raise RequestError(404, f"There is no endpoint {route.name!r} here. Use {examples_path(service.endpoint)}.")
    routed = service.model(query["model"][-1] if "model" in query else None)
    model = routed.version(query["version"][-1]) if "version" in query else routed.main
    if route.kind is RouteKind.EXAMPLES:
        listed = [{"name": example.name, "label": example.label} for example in model.examples]
        return json_response({"model": model.name, "examples": listed})
    for example in model.examples:
        if example.name == route.file:
            content_type = _TYPES.get(PurePath(example.name).suffix, b"application/octet-stream")
            content = await asyncio.to_thread(example.path.read_bytes)
            return HttpResponse(body=content, content_type=content_type, headers=_AS_DATA)
    raise RequestError(404, f"Model {model.name!r} has no example {str(route.file)[:60]!r}.")
