"""The REST API of TensorFlow Serving: rows or columns in JSON, binary values as `{"b64": ...}`. Pure, no I/O.

Source: https://www.tensorflow.org/tfx/serving/api_rest. As there, the content type does not matter and keys that mean
nothing are passed over.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from graftwork.bundle.answers import Answers
from graftwork.errors import RequestError
from graftwork.preprocess.image import ImageSpec
from graftwork.preprocess.inputs import InputSpec
from graftwork_serving.routing import RoutedModel
from graftwork_serving.served_model import ServedModel
from graftwork_serving.service import Prediction
from graftwork_serving.web.open_inference import INPUT_NAME, TEXT_NAME, Examples
from graftwork_serving.web.values import kind_of, numbers, parse_object, pixels, short, text_bytes, text_of, wrong

DEFAULT_SIGNATURE: Final = "serving_default"
CLASSIFY_SIGNATURE: Final = "classification"
REGRESS_SIGNATURE: Final = "regression"
_EXAMPLE = '{"instances": [...]}'
_TYPES = {"FP32": "DT_FLOAT", "BYTES": "DT_STRING", "BOOL": "DT_BOOL"}
_SCORES = "scores"
_NUMBERS = "values"


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """A parsed `:predict` request.

    Attributes:
        examples: pictures as files or texts in UTF-8; or pixels of the model's size.
        tensors: names of what the signature gives.
        in_columns: whether the answer is one value a tensor rather than one a row.
    """

    examples: Examples
    tensors: tuple[str, ...]
    in_columns: bool


def numeric_version(version: str) -> str:
    """A version as the integer that this API has for versions: the start of a digest is read as hexadecimal."""
    return version if version.isdecimal() else str(int(version, 16))


def find_version(model: RoutedModel, version: str | None, label: str | None) -> ServedModel | None:
    """The version that a path names; None if it names none.

    Raises:
        RequestError: it is not served in this version (404) or under this label (400).
    """
    versions = [arm.model for arm in model.arms]
    if version is not None:
        for served in versions:
            if version in {served.version, numeric_version(served.version)}:
                return served
        known = ", ".join(map(numeric_version, model.versions))
        raise RequestError(
            404,
            f"Model {model.name!r} is served here in version {known}, not {version[:40]!r}. Use that version, or none.",
        )
    if label is not None:
        for served in versions:
            if label == served.alias:
                return served
        aliases = ", ".join(repr(served.alias) for served in versions if served.alias)
        raise RequestError(
            400,
            f"Unrecognized servable version label: {label[:40]!r}. Model {model.name!r} has "
            f"{f'label {aliases}' if aliases else 'no label'} here.",
        )
    return None


def model_status(versions: Sequence[str]) -> dict[str, Any]:
    """Answer of `GET /v1/models/NAME`.

    Args:
        versions: all that are served; the only one the path names.
    """
    status = {"error_code": "OK", "error_message": ""}
    return {
        "model_version_status": [
            {"version": numeric_version(version), "state": "AVAILABLE", "status": status} for version in versions
        ]
    }


def model_metadata(model: ServedModel) -> dict[str, Any]:
    """Answer of `GET /v1/models/NAME/metadata`."""
    inputs = {_input_name(model.reader.spec): _tensor_info(_input_name(model.reader.spec), "DT_STRING", [-1])}
    outputs = {
        name: _tensor_info(name, _TYPES[datatype], [-1, *shape])
        for name, (datatype, shape) in model.answers.tensors().items()
    }
    signatures = {
        name: _signature(inputs, {tensor: outputs[tensor] for tensor in tensors}, "predict")
        for name, tensors in _predict_signatures(model.answers).items()
    }
    if can_classify(model.answers):
        classes = _tensor_info("classes", "DT_STRING", [-1, len(model.answers.labels)])
        signatures[CLASSIFY_SIGNATURE] = _signature(
            inputs, {"classes": classes, "scores": outputs[_SCORES]}, "classify"
        )
    if can_regress(model.answers):
        signatures[REGRESS_SIGNATURE] = _signature(inputs, {"outputs": outputs[_NUMBERS]}, "regress")
    return {
        "model_spec": {"name": model.name, "signature_name": "", "version": numeric_version(model.version)},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def can_classify(answers: Answers) -> bool:
    """Whether a model gives each label a score."""
    return _SCORES in answers.tensors()


def can_regress(answers: Answers) -> bool:
    """Whether a model gives one number."""
    return _NUMBERS in answers.tensors() and len(answers.labels) == 1


def parse_predict(body: bytes, inputs: InputSpec, answers: Answers) -> PredictRequest:
    """Read a `:predict` request.

    Raises:
        RequestError: anything about it is wrong (400); the message names the field and the fix.
    """
    document = parse_object(body, _EXAMPLE)
    signatures = _predict_signatures(answers)
    tensors = signatures[_signature_name(document, tuple(signatures), DEFAULT_SIGNATURE)]
    match "instances" in document, "inputs" in document:
        case True, False:
            examples = _parse_rows(document["instances"], inputs)
        case False, True:
            examples = _parse_column(document["inputs"], inputs)
        case True, True:
            raise wrong("request body", "both instances and inputs", "one of them", "Leave one out.")
        case _:
            raise wrong("request body", "neither instances nor inputs", "one of them", f"Send {_EXAMPLE}.")
    return PredictRequest(examples=examples, tensors=tensors, in_columns="inputs" in document)


def parse_examples(body: bytes, inputs: InputSpec, *, signature: str) -> Examples:
    """Read a `:classify` or `:regress` request.

    Args:
        body: of the request.
        inputs: what the model takes.
        signature: the only one that answers such requests.

    Raises:
        RequestError: anything about it is wrong (400); the message names the field and the fix.
    """
    document = parse_object(body, '{"examples": [...]}')
    _signature_name(document, (signature, DEFAULT_SIGNATURE), signature)
    rows, context = document.get("examples"), document.get("context", {})
    if not isinstance(context, dict):
        raise wrong("context", kind_of(context), "an object of features", "Leave it out.")
    if not isinstance(rows, list) or not rows:
        received = "an empty list" if rows == [] else kind_of(rows)
        raise wrong("examples", received, "a list of objects of features", "Give one object for each example.")
    return _same_kind(
        [_parse_features(row, context, inputs, f"examples[{index}]") for index, row in enumerate(rows)], "examples"
    )


def encode_predict(prediction: Prediction, request: PredictRequest) -> dict[str, Any]:
    """Answer of a `:predict` request: without names where there is one tensor only."""
    answers, rows = prediction.model.answers, len(prediction.scores)
    columns = {
        name: np.asarray(answers.data(name, prediction.scores), object).reshape(rows, *answers.tensors()[name][1])
        for name in request.tensors
    }
    values = {name: column.tolist() for name, column in columns.items()}
    if len(values) == 1:
        (only,) = values.values()
        return {"outputs" if request.in_columns else "predictions": only}
    if request.in_columns:
        return {"outputs": values}
    return {"predictions": [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]}


def encode_classify(prediction: Prediction) -> dict[str, Any]:
    """Answer of a `:classify` request: for each example every label with its score, in the order of the labels."""
    labels = prediction.model.answers.labels
    return {"results": [[list(pair) for pair in zip(labels, row, strict=True)] for row in prediction.scores.tolist()]}


def encode_regress(prediction: Prediction) -> dict[str, Any]:
    """Answer of a `:regress` request: one number an example."""
    return {"results": prediction.scores[:, 0].tolist()}


def _predict_signatures(answers: Answers) -> Mapping[str, tuple[str, ...]]:
    """Tensors of each signature; models that give several also have one that gives the scores alone."""
    tensors = tuple(answers.tensors())
    alone = {_SCORES: (_SCORES,)} if len(tensors) > 1 and _SCORES in tensors else {}
    return {DEFAULT_SIGNATURE: tensors, **alone}


def _signature_name(document: dict[str, Any], known: tuple[str, ...], default: str) -> str:
    name = document.get("signature_name", default)
    if not isinstance(name, str):
        raise wrong("signature_name", kind_of(name), "a string", "Leave it out.")
    if name == "":
        return default
    if name not in known:
        raise wrong("signature_name", short(name), " or ".join(known), "Use one of these, or leave it out.")
    return name


def _parse_rows(rows: Any, inputs: InputSpec) -> Examples:
    if not isinstance(rows, list) or not rows:
        received = "an empty list" if rows == [] else kind_of(rows)
        raise wrong("instances", received, "a list of at least one", f"Send {_EXAMPLE}.")
    are_named = _is_named(rows[0])
    parsed = []
    for index, row in enumerate(rows):
        where = f"instances[{index}]"
        if _is_named(row) is not are_named:
            raise wrong(where, kind_of(row), "the same form as instances[0]", "Do not mix objects and plain values.")
        parsed.append(_parse_value(_only(row, inputs, where), inputs, where))
    return _same_kind(parsed, "instances")


def _parse_column(column: Any, inputs: InputSpec) -> Examples:
    values = _only(column, inputs, "inputs")
    if not isinstance(values, list) or not values:
        received = "an empty list" if values == [] else kind_of(values)
        raise wrong("inputs", received, "a list of at least one value", 'Send {"inputs": [...]}.')
    return _same_kind([_parse_value(value, inputs, f"inputs[{index}]") for index, value in enumerate(values)], "inputs")


def _only(value: Any, inputs: InputSpec, where: str) -> Any:
    """The value of the model's only input, which may be named."""
    if not _is_named(value):
        return value
    name = _input_name(inputs)
    if set(value) != {name}:
        raise wrong(where, f"keys {short(sorted(value))}", f'the key "{name}"', "That is the model's only input.")
    return value[name]


def _parse_features(row: Any, context: dict[str, Any], inputs: InputSpec, where: str) -> Any:
    """The feature that the model takes; others are passed over, as in any Example."""
    if not isinstance(row, dict):
        raise wrong(where, kind_of(row), "an object of features", "Give one object for each example.")
    name = _input_name(inputs)
    if name in row and name in context:
        raise wrong(f"{where}.{name}", "a feature of the context too", "it in one of the two", "Leave one out.")
    features = context | row
    if name not in features:
        raise wrong(where, f"features {short(sorted(features))}", f'the feature "{name}"', "Add it.")
    value = features[name]
    match value:
        case [only] if not isinstance(only, list):
            return _parse_value(only, inputs, f"{where}.{name}")
        case [*flat] if isinstance(inputs, ImageSpec):
            return _parse_pixels(flat, inputs, f"{where}.{name}", is_flat=True)
        case _:
            return _parse_value(value, inputs, f"{where}.{name}")


def _parse_value(value: Any, inputs: InputSpec, where: str) -> bytes | NDArray[np.uint8]:
    """One example: a text, a file, or pixels."""
    if not isinstance(inputs, ImageSpec):
        text = text_of(_decode(value["b64"], where), where) if _is_binary(value) else value
        return text_bytes(text, where)
    if _is_binary(value):
        return _decode(value["b64"], where)
    if isinstance(value, list):
        return _parse_pixels(value, inputs, where, is_flat=False)
    raise wrong(where, kind_of(value), 'a picture file as {"b64": "..."} or pixels', "Encode it: base64 -w0 cat.jpg.")


def _parse_pixels(value: list[Any], image: ImageSpec, where: str, *, is_flat: bool) -> NDArray[np.uint8]:
    sent, shape = numbers(value, where), (image.height, image.width, 3)
    wanted = (sent.size,) if is_flat else shape
    if sent.shape != wanted or sent.size != int(np.prod(shape)):
        raise wrong(
            where,
            f"values of shape {list(sent.shape)}",
            str([int(np.prod(shape))] if is_flat else list(shape)),
            'Resize to that size, or send the picture file as {"b64": "..."} and let the endpoint resize it.',
        )
    return pixels(sent, where).reshape(shape)


def _same_kind(examples: list[Any], where: str) -> Examples:
    """Examples that are all files or texts, or all pixels: one tensor has one type."""
    if len({isinstance(example, bytes) for example in examples}) > 1:
        raise wrong(where, "files and pixels", "one of the two", "Send them in two requests.")
    return examples


def _is_binary(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str)


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_binary(value)


def _decode(encoded: str, where: str) -> bytes:
    """Bytes from base64; white space within and missing padding are allowed, as in TensorFlow Serving."""
    packed = "".join(encoded.split()).rstrip("=")
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise wrong(f"{where}.b64", f"no base64 ({error})", "base64", "Encode it: base64 -w0 cat.jpg.") from error


def _input_name(inputs: InputSpec) -> str:
    return INPUT_NAME if isinstance(inputs, ImageSpec) else TEXT_NAME


def _tensor_info(name: str, dtype: str, shape: list[int]) -> dict[str, Any]:
    dimensions = [{"size": str(size), "name": ""} for size in shape]
    return {"dtype": dtype, "tensor_shape": {"dim": dimensions, "unknown_rank": False}, "name": f"{name}:0"}


def _signature(inputs: dict[str, Any], outputs: dict[str, Any], method: str) -> dict[str, Any]:
    return {"inputs": inputs, "outputs": outputs, "method_name": f"tensorflow/serving/{method}"}
