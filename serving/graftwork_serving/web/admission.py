"""Who may ask which route: before anything of a request's body is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graftwork_serving.access.callers import ANYONE, Caller
from graftwork_serving.web.handlers import HANDLERS
from graftwork_serving.web.messages import Scope, parse_query
from graftwork_serving.web.routes import Route, RouteKind

if TYPE_CHECKING:
    from graftwork_serving.access.guard import Guard
    from graftwork_serving.service import PredictionService

# What a load balancer asks, which has no key.
_OPEN = frozenset({RouteKind.LIVE, RouteKind.READY})
# Their path names the endpoint; the model, if any, stands in the query.
_OF_ENDPOINT = frozenset({RouteKind.PREDICT, RouteKind.FEEDBACK, RouteKind.EXAMPLES, RouteKind.EXAMPLE})


async def admit(guard: Guard | None, service: PredictionService, route: Route, scope: Scope) -> Caller:
    """Who sends a request, and whether the route is theirs.

    Args:
        guard: knows who may ask; None lets everyone.
        service: the models.
        route: what is asked.
        scope: the request.

    Raises:
        RefusedError: it is not.
    """
    if guard is None or route.kind in _OPEN:
        return ANYONE
    if route.kind is RouteKind.METRICS and guard.config.open_metrics:
        return ANYONE
    caller = await guard.admit(dict(scope["headers"]))
    if route.kind in _OF_ENDPOINT:
        named = parse_query(scope).get("model")
        caller.check_model(named[-1] if named else service.model().name)
    elif route.name is not None:
        caller.check_model(route.name)
    if route.kind in HANDLERS:
        guard.count_prediction(caller)
    return caller
