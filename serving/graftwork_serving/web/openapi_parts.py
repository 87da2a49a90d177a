"""What the operations of the OpenAPI document have in common. Pure."""

from __future__ import annotations

from typing import Any

_REFUSALS = {
    "400": "The request is wrong; the message says how to mend it.",
    "401": "Where the endpoint asks for a key: none that counts.",
    "403": "The key is not for this model.",
    "404": "No such endpoint or model.",
    "405": "Wrong method.",
    "408": "The request was too slow to come.",
    "409": "The model cannot be loaded.",
    "413": "The body or a picture is too large.",
    "415": "Wrong content type.",
    "429": "The key asked too often; try again after Retry-After seconds.",
    "503": "Too many requests wait; try again after Retry-After seconds.",
    "504": "There was no answer in time.",
}


KEY_REFUSALS = ("401", "403")
"""Statuses of whatever asks for a key and is about a model."""
MODEL_REFUSALS = ("400", *KEY_REFUSALS, "404", "409", "503")
"""Statuses of routes that tell about a model, which may be loaded for that."""


def responses(schema: dict[str, Any], **others: dict[str, Any]) -> dict[str, Any]:
    """Answers of a prediction route: JSON (or another media type), and every refusal."""
    return {
        "200": {"description": "The answer.", "content": {"application/json": {"schema": schema}, **others}},
        **refusals(*_REFUSALS),
    }


def refusals(*statuses: str) -> dict[str, Any]:
    """What a route answers when it refuses, by status."""
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {status: {"description": _REFUSALS[status], "content": error} for status in statuses}


def plain_get(operation_id: str, summary: str, *statuses: str, media_type: str = "application/json") -> dict[str, Any]:
    """A GET operation.

    Args:
        operation_id: what generated clients call it.
        summary: what it answers.
        statuses: with which it may refuse.
        media_type: of the answer.
    """
    schema = {"type": "object"} if media_type == "application/json" else {"type": "string"}
    answer = {"description": "The answer.", "content": {media_type: {"schema": schema}}}
    return {"operationId": operation_id, "summary": summary, "responses": {"200": answer, **refusals(*statuses)}}


def path_parameter(name: str) -> dict[str, Any]:
    """A parameter within the path."""
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
