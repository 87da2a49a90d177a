"""The OpenAPI document of an endpoint. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from graftwork import __version__
from graftwork_serving.web.feedback import MOST_ROWS as FEEDBACK_ROWS
from graftwork_serving.web.open_inference import INPUT_NAME, TEXT_NAME
from graftwork_serving.web.openapi_parts import (
    KEY_REFUSALS,
    MODEL_REFUSALS,
    path_parameter,
    plain_get,
    refusals,
    responses,
)
from graftwork_serving.web.openapi_rows import tensorflow_serving_paths
from graftwork_serving.web.plain import DEFAULT_TOP
from graftwork_serving.web.routes import examples_path, feedback_path, predict_path

_PREDICTIONS = {
    "type": "object",
    "required": ["model", "version", "predictions"],
    "properties": {
        "model": {"type": "string"},
        "version": {"type": "string"},
        "predictions": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "label": {"type": "string", "description": "Likeliest label (classification)."},
                    "score": {"type": "number", "description": "Its probability."},
                    "scores": {
                        "type": "object",
                        "additionalProperties": {"type": "number"},
                        "description": "The likeliest labels with their probabilities, by falling probability.",
                    },
                    "values": {
                        "type": "object",
                        "additionalProperties": {"type": "number"},
                        "description": "Every number by its name (regression).",
                    },
                    "file": {"type": "string", "description": "File name, where the form gave one."},
                    "explanation": {"$ref": "#/components/schemas/Explanation"},
                },
            },
        },
    },
}
_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype", "data"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"type": "string", "enum": ["UINT8", "FP32", "BYTES"]},
        "data": {"type": "array", "items": {}},
    },
}
_NAMED = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_TEXTS = {
    "oneOf": [
        {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}},
        {
            "type": "object",
            "required": ["instances"],
            "properties": {"instances": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
        },
    ]
}
_JSON_LENGTH = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "schema": {"type": "integer", "minimum": 0},
    "description": "Bytes of JSON at the start of the body, where values follow it.",
}
_EXPLANATION = {
    "type": "object",
    "required": ["method", "label", "shares", "heatmap"],
    "description": "What the answer rests on, where `explain` asked for it.",
    "properties": {
        "method": {"type": "string", "enum": ["class-activation-map", "ablation"]},
        "label": {"type": "string"},
        "shares": {
            "type": "array",
            "items": {"type": "array", "items": {"type": "number"}},
            "description": "What each place of what the model saw, row by row, adds to the label's logit.",
        },
        "heatmap": {
            "type": "string",
            "contentEncoding": "base64",
            "contentMediaType": "image/png",
            "description": "Lies over the picture at any size.",
        },
    },
}
_EXPLAIN = [
    {
        "name": "explain",
        "in": "query",
        "description": "Tell what the answers rest on; with Accept: image/png as the picture under a heat map.",
        "schema": {"type": "string", "enum": ["cam"]},
    },
    {
        "name": "label",
        "in": "query",
        "description": "Which label to explain; default is the likeliest.",
        "schema": {"type": "string"},
    },
]
_MODEL = {
    "name": "model",
    "in": "query",
    "description": "Which model; default is the endpoint's first.",
    "schema": {"type": "string"},
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}

# Either will do.
_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


def openapi_document(
    endpoint: str,
    max_request_bytes: int,
    *,
    takes_text: Collection[bool] = (False,),
    has_examples: bool = False,
    takes_feedback: bool = False,
    asks_for_key: bool = False,
) -> dict[str, Any]:
    """The document as JSON-ready values.

    Args:
        endpoint: its name.
        max_request_bytes: largest request body.
        takes_text: for each kind of input the models take, whether that is texts (else pictures).
        has_examples: whether there are examples to try.
        takes_feedback: whether predictions are kept, to be told what was right.
        asks_for_key: whether it does, of all but health.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Graftwork endpoint {endpoint}",
            "version": __version__,
            "description": f"{_what(takes_text)}. Request bodies may have up to {max_request_bytes:,} bytes.",
        },
        "paths": {
            predict_path(endpoint): {"post": _predict_operation(takes_text)},
            **_model_paths(takes_text),
            **tensorflow_serving_paths(),
            **(_examples_paths(endpoint) if has_examples else {}),
            **({feedback_path(endpoint): {"post": _feedback_operation()}} if takes_feedback else {}),
            "/": {"get": _root_operation()},
            **_repository_paths(),
            "/v2": {"get": plain_get("server", "Describe the server.", "401")},
            "/v2/health/live": {"get": _health("serverLive", "Whether the server is alive.")},
            "/v2/health/ready": {"get": _health("serverReady", "Whether the server takes requests.", "503")},
            "/healthz": {"get": _health("live", "Whether the endpoint is alive.")},
            "/readyz": {"get": _health("ready", "Whether the endpoint takes requests.", "503")},
            "/metrics": {"get": plain_get("metrics", "Prometheus metrics.", "401", media_type="text/plain")},
        },
        "components": {
            "schemas": {"Predictions": _PREDICTIONS, "Explanation": _EXPLANATION, "Tensor": _TENSOR, "Error": _ERROR},
            **({"securitySchemes": _KEYS} if asks_for_key else {}),
        },
        **({"security": [{name: []} for name in _KEYS]} if asks_for_key else {}),
    }


def _health(operation_id: str, summary: str, *statuses: str) -> dict[str, Any]:
    """What load balancers ask, which have no key."""
    return plain_get(operation_id, summary, *statuses) | {"security": []}


def _root_operation() -> dict[str, Any]:
    operation = plain_get("describe", "Describe the endpoint; or, for browsers, a page to try it on.", "401")
    operation["responses"]["200"]["content"]["text/html"] = {"schema": {"type": "string"}}
    return operation


def _examples_paths(endpoint: str) -> dict[str, Any]:
    path, statuses = examples_path(endpoint), (*KEY_REFUSALS, "404")
    lists = plain_get("listExamples", "Examples to try a model with.", *statuses)
    fetches = plain_get("fetchExample", "One of them.", *statuses, media_type="application/octet-stream")
    for operation in (lists, fetches):
        operation["parameters"] = [_MODEL]
    return {path: {"get": lists}, f"{path}/{{file}}": {"parameters": [path_parameter("file")], "get": fetches}}


def _feedback_operation() -> dict[str, Any]:
    row = {
        "type": "object",
        "required": ["requestId"],
        "additionalProperties": False,
        "properties": {
            "requestId": {"type": "string", "description": "X-Request-Id of the answer."},
            "example": {"type": "integer", "minimum": 0, "default": 0, "description": "Position in the request."},
            "label": {"type": "string"},
            "labels": {"type": "array", "items": {"type": "string"}},
            "values": {"type": "object", "additionalProperties": {"type": "number"}},
        },
    }
    several = {
        "type": "object",
        "required": ["feedback"],
        "additionalProperties": False,
        "properties": {"feedback": {"type": "array", "items": row, "minItems": 1, "maxItems": FEEDBACK_ROWS}},
    }
    accepted = {"type": "object", "required": ["accepted"], "properties": {"accepted": {"type": "integer"}}}
    return {
        "operationId": "giveFeedback",
        "summary": "Tell what was right for predictions.",
        "parameters": [_MODEL],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"oneOf": [row, several]}}}},
        "responses": {
            "202": {"description": "It will be written.", "content": {"application/json": {"schema": accepted}}},
            **refusals("400", *KEY_REFUSALS, "404", "408", "413", "415", "503"),
        },
    }


def _what(takes_text: Collection[bool]) -> str:
    return " and ".join(
        text for is_text, text in ((False, "Picture models"), (True, "Text models")) if is_text in takes_text
    )


def _predict_content(takes_text: Collection[bool]) -> dict[str, Any]:
    form = {
        "type": "object",
        "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
    }
    content: dict[str, Any] = {"application/octet-stream": _BINARY, "multipart/form-data": {"schema": form}}
    if False in takes_text:
        content["image/*"] = _BINARY
    if True in takes_text:
        content["text/plain"] = {"schema": {"type": "string"}}
        content["application/json"] = {"schema": _TEXTS}
    return content


def _predict_operation(takes_text: Collection[bool]) -> dict[str, Any]:
    return {
        "operationId": "predict",
        "summary": "Predict from pictures or texts, whichever the model takes.",
        "parameters": [
            {
                "name": "top",
                "in": "query",
                "description": "How many labels to list.",
                "schema": {"type": "integer", "minimum": 1, "default": DEFAULT_TOP},
            },
            _MODEL,
            {
                "name": "version",
                "in": "query",
                "description": "Which version of it; default is whichever the endpoint's traffic shares say.",
                "schema": {"type": "string"},
            },
            *(_EXPLAIN if False in takes_text else ()),
        ],
        "requestBody": {
            "required": True,
            "content": _predict_content(takes_text),
        },
        "responses": responses({"$ref": "#/components/schemas/Predictions"}, **{"image/png": _BINARY}),
    }


def _infer_operation(takes_text: Collection[bool]) -> dict[str, Any]:
    names = [f'"{name}"' for is_text, name in ((False, INPUT_NAME), (True, TEXT_NAME)) if is_text in takes_text]
    tensors = {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}}
    request = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "inputs": {**tensors, "maxItems": 1, "description": f"One tensor named {' or '.join(names)}."},
            "outputs": {"type": "array", "items": _NAMED},
            "parameters": {
                "type": "object",
                "properties": {
                    "binary_data_output": {"type": "boolean"},
                    "explain": {"type": "string", "enum": ["cam"], "description": "Adds the tensor `explanation`."},
                    "explain_label": {"type": "string"},
                },
            },
        },
    }
    answer = {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": tensors,
        },
    }
    return {
        "operationId": "infer",
        "summary": "Score tensors (Open Inference Protocol v2; values within the JSON, or behind it).",
        "parameters": [_JSON_LENGTH],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": request}, "application/octet-stream": _BINARY},
        },
        "responses": responses(answer, **{"application/octet-stream": _BINARY}),
    }


def _model_paths(takes_text: Collection[bool]) -> dict[str, Any]:
    """The Open Inference Protocol's routes of a model, and of one version of it."""
    infer = _infer_operation(takes_text)
    of_version = infer | {"operationId": "inferVersion"}
    paths: dict[str, Any] = {}
    for path, names, named, operation in (
        ("/v2/models/{model}", ("model",), "Model", infer),
        ("/v2/models/{model}/versions/{version}", ("model", "version"), "Version", of_version),
    ):
        parameters = [path_parameter(name) for name in names]
        paths |= {
            f"{path}/infer": {"parameters": parameters, "post": operation},
            path: {
                "parameters": parameters,
                "get": plain_get(f"describe{named}", f"Describe a {names[-1]}.", *MODEL_REFUSALS),
            },
            f"{path}/ready": {
                "parameters": parameters,
                "get": plain_get(f"ready{named}", f"Whether a {names[-1]} is ready.", *MODEL_REFUSALS),
            },
        }
    return paths


def _repository_paths() -> dict[str, Any]:
    """The Open Inference Protocol's model repository calls."""
    listed = {"type": "array", "items": {"type": "object", "required": ["name", "version", "state", "reason"]}}
    done = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
    ready = {"type": "object", "properties": {"ready": {"type": "boolean", "description": "List loaded models only."}}}
    index: dict[str, Any] = {
        "operationId": "listModels",
        "summary": "List the models that are loaded, and those that may be.",
        "requestBody": {"required": False, "content": {"application/json": {"schema": ready}}},
        "responses": responses(listed),
    }
    return {"/v2/repository/index": {"post": index}} | {
        f"/v2/repository/models/{{model}}/{action}": {
            "parameters": [path_parameter("model")],
            "post": {"operationId": f"{action}Model", "summary": summary, "responses": responses(done)},
        }
        for action, summary in (
            ("load", "Load a model that spec.repository offers."),
            ("unload", "Let such a model go; the next request for it loads it again."),
        )
    }
