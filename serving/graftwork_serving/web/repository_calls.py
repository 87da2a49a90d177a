"""The Open Inference Protocol's model repository calls: list, load, unload. Over HTTP here; gRPC asks the same of them.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from graftwork.errors import RequestError
from graftwork_serving.access.callers import CALLER
from graftwork_serving.repository import ModelRepository
from graftwork_serving.service import PredictionService
from graftwork_serving.web.messages import HttpRequest, HttpResponse, json_response
from graftwork_serving.web.routes import Route, RouteKind
from graftwork_serving.web.values import kind_of, parameters_of, parse_object, wrong

EXTENSION: Final = "model_repository"
"""What the protocol's server metadata calls them."""
# What clients send along that changes nothing: no model here depends on another.
_HARMLESS: Final = frozenset({"unload_dependents"})


@dataclass(frozen=True, kw_only=True)
class RepositoryCalls:
    """The calls, whatever the protocol.

    Args:
        repository: models that may be loaded.
        service: models that are served.
    """

    repository: ModelRepository
    service: PredictionService

    def index(self, *, ready_only: bool) -> list[dict[str, Any]]:
        """One row a model that is the caller's to ask: name, version, state and reason.

        Args:
            ready_only: only those that are loaded.
        """
        sees = CALLER.get().sees
        fixed = [
            {"name": name, "version": version, "state": "READY", "reason": ""}
            for name, model in self.service.models.items()
            if name not in self.repository.names
            for version in model.versions
        ]
        return [row for row in (*fixed, *self.repository.index(ready_only=ready_only)) if sees(row["name"])]

    async def load(self, name: str, parameters: Iterable[str] = ()) -> None:
        """Make sure that a model is loaded.

        Raises:
            RequestError: there is no such model (404), it cannot be loaded (409), or a parameter would change it (400).
        """
        _refuse_parameters(parameters)
        if not self._is_fixed(name):
            await self.repository.ensure(name)

    async def unload(self, name: str, parameters: Iterable[str] = ()) -> None:
        """Let a model go.

        Raises:
            RequestError: there is no such model (404), or the spec keeps it loaded (400).
        """
        _refuse_parameters(parameters)
        if self._is_fixed(name):
            raise RequestError(400, f"Model {name!r} is named in spec.models and stays. Remove it there.")
        await self.repository.unload(name)

    def _is_fixed(self, name: str) -> bool:
        """Whether the spec keeps it loaded."""
        return name in self.service.models and name not in self.repository.names


async def answer_repository_call(calls: RepositoryCalls, route: Route, request: HttpRequest) -> HttpResponse:
    """Answer a call over HTTP.

    Args:
        calls: what is asked.
        route: which call.
        request: its body.

    Raises:
        RequestError: see the calls; or the body is not what they take (400).
    """
    document = parse_object(request.body, "{}") if request.body.strip() else {}
    if route.kind is RouteKind.REPOSITORY_INDEX:
        ready_only = document.get("ready", False)
        if not isinstance(ready_only, bool):
            raise wrong("ready", kind_of(ready_only), "true or false", "Leave it out to list all models.")
        return json_response(calls.index(ready_only=ready_only))
    parameters = parameters_of(document, "parameters")
    name = str(route.name)
    if route.kind is RouteKind.MODEL_LOAD:
        await calls.load(name, parameters)
        return json_response({"name": name, "load": True})
    await calls.unload(name, parameters)
    return json_response({"name": name, "unload": True})


def _refuse_parameters(parameters: Iterable[str]) -> None:
    """Refuse what a client takes for done: other weights or another configuration."""
    for name in parameters:
        if name not in _HARMLESS:
            raise wrong(
                f"parameters.{name[:60]}",
                "a value",
                "no parameters",
                "Leave it out: a model is served as it was registered.",
            )
