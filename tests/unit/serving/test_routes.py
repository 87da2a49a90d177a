from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from graftwork_serving.web.openapi import openapi_document
from graftwork_serving.web.routes import Route, RouteKind, allowed_methods, match_route


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", Route(kind=RouteKind.ROOT)),
        ("/v2/", Route(kind=RouteKind.SERVER_METADATA)),
        ("/v2/health/ready", Route(kind=RouteKind.READY)),
        ("/v2/models/m", Route(kind=RouteKind.MODEL_METADATA, name="m")),
        ("/v2/models/m/versions/3", Route(kind=RouteKind.MODEL_METADATA, name="m", version="3")),
        ("/v2/models/m/versions/3/infer", Route(kind=RouteKind.INFER, name="m", version="3")),
        ("/v2/models/m/ready", Route(kind=RouteKind.MODEL_READY, name="m")),
        ("/v1/endpoints/e/predict", Route(kind=RouteKind.PREDICT, name="e")),
        ("/v1/endpoints/e/feedback", Route(kind=RouteKind.FEEDBACK, name="e")),
        ("/v1/endpoints/e/examples", Route(kind=RouteKind.EXAMPLES, name="e")),
        ("/v1/endpoints/e/examples/0.png", Route(kind=RouteKind.EXAMPLE, name="e", file="0.png")),
        ("/v1/models/m", Route(kind=RouteKind.STATUS, name="m")),
        ("/v1/models/m/versions/3", Route(kind=RouteKind.STATUS, name="m", version="3")),
        ("/v1/models/m/labels/l/metadata", Route(kind=RouteKind.SIGNATURES, name="m", label="l")),
        ("/v1/models/metadata/metadata", Route(kind=RouteKind.SIGNATURES, name="metadata")),
        ("/v1/models/m:predict", Route(kind=RouteKind.ROWS_PREDICT, name="m")),
        ("/v1/models/m/versions/3:classify", Route(kind=RouteKind.CLASSIFY, name="m", version="3")),
        ("/v1/models/m/labels/l:regress", Route(kind=RouteKind.REGRESS, name="m", label="l")),
        ("/v1/models", None),
        ("/v1/models/:predict", None),
        ("/v1/models/m:tune", None),
        ("/v1/models/m:predict:predict", None),
        ("/v1/models/m/versions/:predict", None),
        ("/v1/endpoints/e", None),
        ("/v2/models/m/unknown", None),
        ("/../etc/passwd", None),
    ],
)
def test_paths_mean_what_the_protocols_say(path: str, expected: Route | None) -> None:
    """Every documented path is known, and nothing else is."""
    assert match_route(path) == expected


def test_the_openapi_document_describes_only_routes_that_exist() -> None:
    """Every path and method in the document is one that the application takes."""
    for path, item in openapi_document("e", 1000, has_examples=True, takes_feedback=True)["paths"].items():
        route = match_route(path)
        assert route is not None, path
        methods = {key.upper() for key in item if key != "parameters"}
        assert methods <= set(allowed_methods(route.kind))


def test_the_openapi_document_describes_the_routes_of_a_version() -> None:
    """Each route of the protocol that a model has, one version of it has too; operations keep names of their own."""
    paths = openapi_document("e", 1000)["paths"]
    for end in ("", "/ready", "/infer"):
        of_model, of_version = (
            paths[f"/v2/models/{{model}}{end}"],
            paths[f"/v2/models/{{model}}/versions/{{version}}{end}"],
        )
        assert of_model.keys() == of_version.keys()
        assert [each["name"] for each in of_version["parameters"]] == ["model", "version"]
    named = [each["operationId"] for item in paths.values() for each in item.values() if "operationId" in each]
    assert len(named) == len(set(named))


def test_clients_can_be_made_from_the_openapi_document() -> None:
    """Every operation has its own name, and every list says what it holds: generators leave out what lacks these."""
    document = openapi_document("e", 1000, takes_text={False, True}, has_examples=True, takes_feedback=True)
    operations = [each for item in document["paths"].values() for key, each in item.items() if key != "parameters"]
    names = [each["operationId"] for each in operations]
    assert len(names) == len(set(names))
    lists = [each for each in _objects(document) if each.get("type") == "array"]
    assert lists
    assert all("items" in each or "prefixItems" in each for each in lists)


def test_the_openapi_document_says_how_routes_of_a_model_refuse() -> None:
    """An unknown model is 404 and one of others 403, whatever is asked of it."""
    paths = openapi_document("e", 1000, has_examples=True, takes_feedback=True)["paths"]
    for path, item in paths.items():
        if "{model}" in path or path.startswith("/v1/endpoints/"):
            (operation,) = (each for key, each in item.items() if key != "parameters")
            assert {"401", "403", "404"} <= operation["responses"].keys(), path


def _objects(content: Any) -> Iterator[dict[str, Any]]:
    match content:
        case dict():
            yield content
            for each in content.values():
                yield from _objects(each)
        case list():
            for each in content:
                yield from _objects(each)
