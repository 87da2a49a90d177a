"""TensorFlow Serving's routes in the OpenAPI document. Pure."""

from __future__ import annotations

from typing import Any

from graftwork_serving.web.openapi_parts import MODEL_REFUSALS, path_parameter, plain_get, responses

_B64 = {
    "type": "object",
    "required": ["b64"],
    "additionalProperties": False,
    "properties": {"b64": {"type": "string", "contentEncoding": "base64"}},
}
_VALUE = {
    "description": "A text, a file, pixels (height, width, 3), or an object with one of these by the input's name.",
    "anyOf": [{"type": "string"}, _B64, {"type": "array", "items": {}}, {"type": "object"}],
}
_VALUES = {"type": "array", "minItems": 1, "items": _VALUE}
_SIGNATURE = {"type": "string", "description": "One of those that the model's metadata lists."}
_ROWS = {
    "type": "object",
    "required": ["instances"],
    "properties": {"signature_name": _SIGNATURE, "instances": _VALUES},
}
_COLUMNS = {
    "type": "object",
    "required": ["inputs"],
    "properties": {"signature_name": _SIGNATURE, "inputs": {"anyOf": [_VALUES, {"type": "object"}]}},
}
_EXAMPLES = {
    "type": "object",
    "required": ["examples"],
    "properties": {
        "signature_name": _SIGNATURE,
        "context": {"type": "object"},
        "examples": {"type": "array", "minItems": 1, "items": {"type": "object"}},
    },
}
_ROW_ANSWER = {
    "type": "object",
    "required": ["predictions"],
    "properties": {"predictions": {"type": "array", "items": {}}},
}
_COLUMN_ANSWER = {"type": "object", "required": ["outputs"], "properties": {"outputs": {}}}
_PAIR = {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}], "minItems": 2, "maxItems": 2}


def tensorflow_serving_paths() -> dict[str, Any]:
    """The paths, each also with a version or a label of the model."""
    paths: dict[str, Any] = {}
    for suffix, named in (("", ""), ("/versions/{version}", "Version"), ("/labels/{label}", "Label")):
        parameters = [
            path_parameter(name) for name in ("model", "version", "label") if f"{{{name}}}" in f"{{model}}{suffix}"
        ]
        base = f"/v1/models/{{model}}{suffix}"
        operations = {
            "": {"get": plain_get(f"state{named}", "State of a model (TensorFlow Serving).", *MODEL_REFUSALS)},
            "/metadata": {
                "get": plain_get(f"signatures{named}", "Signatures of a model (TensorFlow Serving).", *MODEL_REFUSALS)
            },
            ":predict": {"post": _predict_operation(f"predictRows{named}")},
            ":classify": {
                "post": _examples_operation(
                    f"classify{named}", "Scores of all labels", {"type": "array", "items": _PAIR}
                )
            },
            ":regress": {"post": _examples_operation(f"regress{named}", "One number", {"type": "number"})},
        }
        paths |= {f"{base}{end}": {"parameters": parameters, **operation} for end, operation in operations.items()}
    return paths


def _predict_operation(operation_id: str) -> dict[str, Any]:
    return {
        "operationId": operation_id,
        "summary": "Predict from rows or columns (TensorFlow Serving).",
        "requestBody": _json_body({"oneOf": [_ROWS, _COLUMNS]}),
        "responses": responses({"oneOf": [_ROW_ANSWER, _COLUMN_ANSWER]}),
    }


def _examples_operation(operation_id: str, what: str, result: dict[str, Any]) -> dict[str, Any]:
    answer = {
        "type": "object",
        "required": ["results"],
        "properties": {"results": {"type": "array", "items": result}},
    }
    return {
        "operationId": operation_id,
        "summary": f"{what} for each example (TensorFlow Serving).",
        "requestBody": _json_body(_EXAMPLES),
        "responses": responses(answer),
    }


def _json_body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}
