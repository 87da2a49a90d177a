"""The Open Inference Protocol's model repository calls: list, load, unload.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graftwork.errors import RequestError
from graftwork_serving.repository import ModelRepository
from graftwork_serving.service import PredictionService
from graftwork_serving.web.messages import HttpRequest, HttpResponse, json_response
from graftwork_serving.web.routes import Route, RouteKind
from graftwork_serving.web.values import kind_of, parse_object, wrong


async def answer_repository_call(
    repository: ModelRepository,
    service: PredictionService,
    route: Route,
    request: HttpRequest,
    sees: Callable[[str], bool],
) -> HttpResponse:
    """Answer a call.

    Args:
        repository: models that may be loaded.
        service: models that are served.
        route: which call.
        request: its body.
        sees: whether a model is the caller's to ask.

    Raises:
        RequestError: there is no such model, it cannot be loaded, or the spec keeps it loaded.
    """
    document = parse_object(request.body, "{}") if request.body.strip() else {}
    if route.kind is RouteKind.REPOSITORY_INDEX:
        ready_only = document.get("ready", False)
        if not isinstance(ready_only, bool):
            raise wrong("ready", kind_of(ready_only), "true or false", "Leave it out to list all models.")
        rows = [*_fixed(repository, service), *repository.index(ready_only=ready_only)]
        return json_response([row for row in rows if sees(row["name"])])
    name = str(route.name)
    is_fixed = name in service.models and name not in repository.names
    if route.kind is RouteKind.MODEL_LOAD:
        if not is_fixed:
            await repository.ensure(name)
        return json_response({"name": name, "load": True})
    if is_fixed:
        raise RequestError(400, f"Model {name!r} is named in spec.models and stays. Remove it there.")
    await repository.unload(name)
    return json_response({"name": name, "unload": True})


def _fixed(repository: ModelRepository, service: PredictionService) -> list[dict[str, Any]]:
    """The versions that the spec keeps loaded."""
    return [
        {"name": name, "version": version, "state": "READY", "reason": ""}
        for name, model in service.models.items()
        if name not in repository.names
        for version in model.versions
    ]
