"""The Open Inference Protocol v2, tensors as JSON or behind it. Pure translation, no I/O.

Source: https://github.com/kserve/open-inference-protocol (REST, version 2); `binary_tensors` has the extension.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork import __version__
from graftwork.bundle.answers import Answers, LabelAnswers
from graftwork.errors import RequestError
from graftwork.preprocess.image import ImageSpec
from graftwork.preprocess.inputs import InputSpec
from graftwork.preprocess.text import TextSpec
from graftwork_serving.served_model import ServedModel
from graftwork_serving.service import Prediction
from graftwork_serving.web import binary_tensors, repository_calls
from graftwork_serving.web.messages import HttpRequest
from graftwork_serving.web.values import (
    kind_of,
    numbers,
    parameters_of,
    parse_object,
    pixels,
    short,
    text_bytes,
    text_of,
    wrong,
)

INPUT_NAME = "image"
TEXT_NAME = "text"
EXPLANATION_NAME = "explanation"
_IMAGE_RANK = 4

Examples = list[bytes] | list[NDArray[np.uint8]]


@dataclass(frozen=True, kw_only=True)
class InferRequest:
    """A parsed inference request.

    Attributes:
        id: the client's, to be echoed.
        examples: pictures as files or texts in UTF-8; or pixels of the model's size.
        outputs: names of the tensors wanted; true for those whose values go behind the JSON.
        explain: what kind of explanation is wanted.
        explain_label: of which label.
    """

    id: str | None
    examples: Examples
    outputs: dict[str, bool]
    explain: Any = None
    explain_label: Any = None


@dataclass(frozen=True, kw_only=True)
class InferAnswer:
    """An answer.

    Attributes:
        document: its JSON.
        behind: values that follow it; None where the client wants none there.
    """

    document: dict[str, Any]
    behind: bytes | None


def server_metadata() -> dict[str, Any]:
    """Answer of `GET /v2`."""
    return {
        "name": "graftwork",
        "version": __version__,
        "extensions": [binary_tensors.EXTENSION, repository_calls.EXTENSION],
    }


def model_metadata(model: ServedModel, versions: Sequence[str]) -> dict[str, Any]:
    """Answer of `GET /v2/models/NAME`.

    Args:
        model: the version to describe.
        versions: all versions of the model.
    """
    return {
        "name": model.name,
        "versions": list(versions),
        "platform": model.engine.name,
        "inputs": [_input_metadata(model.reader.spec)],
        "outputs": [
            {"name": name, "datatype": datatype, "shape": [-1, *shape]}
            for name, (datatype, shape) in model.answers.tensors().items()
        ],
        "parameters": {
            **_output_parameters(model.answers),
            **_input_parameters(model.reader.spec),
            "precision": model.precision,
        },
    }


def _input_metadata(spec: InputSpec) -> dict[str, Any]:
    match spec:
        case ImageSpec():
            return {"name": INPUT_NAME, "datatype": "UINT8", "shape": [-1, spec.height, spec.width, 3]}
        case TextSpec():
            return {"name": TEXT_NAME, "datatype": "BYTES", "shape": [-1]}


def _output_parameters(answers: Answers) -> dict[str, Any]:
    thresholds = {"thresholds": answers.thresholds.tolist()} if isinstance(answers, LabelAnswers) else {}
    return {"labels": list(answers.labels), **thresholds}


def _input_parameters(spec: InputSpec) -> dict[str, Any]:
    return {"resize": spec.resize} if isinstance(spec, ImageSpec) else {"max_tokens": spec.max_tokens}


def parse_infer(request: HttpRequest, inputs: InputSpec, tensors: tuple[str, ...]) -> InferRequest:
    """Read an inference request.

    Args:
        request: as it came.
        inputs: what the model takes.
        tensors: names of what the model gives.

    Raises:
        RequestError: anything about it is wrong (400, 415); the message names the field and the fix.
    """
    is_binary = binary_tensors.LENGTH_HEADER in request.headers
    if not is_binary and request.content_type not in {"application/json", "", "application/x-www-form-urlencoded"}:
        raise RequestError(
            415, f"Content-Type {request.content_type!r} is not supported here. Send JSON as application/json."
        )
    head, behind = binary_tensors.split_body(request)
    document = parse_object(head, '{"inputs": [...]}')
    identity = document.get("id")
    if identity is not None and not isinstance(identity, str):
        raise wrong("id", kind_of(identity), "a string", "Quote it, or leave it out.")
    parameters = parameters_of(document, "parameters")
    return InferRequest(
        id=identity,
        examples=_parse_input(document.get("inputs"), inputs, behind),
        outputs=parse_outputs(document, tensors),
        explain=parameters.get("explain"),
        explain_label=parameters.get("explain_label"),
    )


def encode_infer(
    prediction: Prediction, request: InferRequest, shares: NDArray[np.float32] | None = None
) -> InferAnswer:
    """Answer of an inference request.

    Args:
        prediction: what came out.
        request: what was asked for.
        shares: what each example's answer rests on, shape (examples, rows, columns), where that was asked for.
    """
    model, rows = prediction.model, len(prediction.scores)
    tensors = model.answers.tensors()
    answer: dict[str, Any] = {"model_name": model.name, "model_version": model.version}
    if request.id is not None:
        answer["id"] = request.id
    answer["outputs"] = []
    behind: list[bytes] = []
    for name, is_binary in request.outputs.items():
        datatype, shape = tensors[name]
        values = model.answers.data(name, prediction.scores)
        answer["outputs"].append(_output(name, datatype, [rows, *shape], values, behind if is_binary else None))
    if shares is not None:
        is_binary = any(request.outputs.values())
        values = shares.ravel().tolist()
        answer["outputs"].append(
            _output(EXPLANATION_NAME, "FP32", list(shares.shape), values, behind if is_binary else None)
        )
    return InferAnswer(document=answer, behind=b"".join(behind) if behind else None)


def _output(
    name: str, datatype: str, shape: list[int], values: list[Any], behind: list[bytes] | None
) -> dict[str, Any]:
    """A tensor's entry in the JSON; its values go there too, unless there is somewhere behind it to put them."""
    output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
    if behind is None:
        return output | {"data": values}
    behind.append(binary_tensors.encode(values, datatype))
    return output | {"parameters": {"binary_data_size": len(behind[-1])}}


def parse_tensor(tensor: dict[str, Any], spec: InputSpec, sent: NDArray[Any] | list[bytes] | None) -> Examples:
    """The examples in a model's input tensor.

    Args:
        tensor: its name, datatype and shape, and `data` if the values are in the JSON.
        spec: what the model takes.
        sent: values that came otherwise: flat numbers, or elements of a BYTES tensor; None without.

    Raises:
        RequestError: anything about it is wrong (400); the message names the field and the fix.
    """
    wanted, datatype = _input_name(spec), tensor.get("datatype")
    if tensor.get("name") != wanted:
        raise wrong("inputs[0].name", short(tensor.get("name")), f'"{wanted}"', "Use that name.")
    match spec, datatype, sent:
        case TextSpec(), "BYTES", [*_] | None:
            return _parse_texts(tensor, sent)
        case TextSpec(), _, _:
            raise wrong("inputs[0].datatype", short(datatype), "BYTES", "Send texts as a BYTES tensor of strings.")
        case ImageSpec(), "BYTES", [*_] | None:
            return _parse_encoded(tensor, sent)
        case ImageSpec(), "UINT8" | "FP32", np.ndarray() | None:
            return _parse_pixels(tensor, spec, sent)
        case _:
            raise wrong(
                "inputs[0].datatype", short(datatype), "UINT8, FP32 or BYTES", "Send pixels as UINT8 or files as BYTES."
            )


def _input_name(spec: InputSpec) -> str:
    return INPUT_NAME if isinstance(spec, ImageSpec) else TEXT_NAME


def _parse_input(inputs: Any, spec: InputSpec, behind: bytes) -> Examples:
    wanted = _input_name(spec)
    if not isinstance(inputs, list) or not inputs:
        received = "nothing" if inputs is None else "an empty list" if inputs == [] else kind_of(inputs)
        raise wrong("inputs", received, "a list with one tensor", f'Add {{"name": "{wanted}", ...}}.')
    if len(inputs) > 1:
        raise wrong("inputs", f"{len(inputs)} tensors", "one", f'Send the tensor "{wanted}" only.')
    tensor = inputs[0]
    if not isinstance(tensor, dict):
        raise wrong("inputs[0]", kind_of(tensor), "an object", "Give it name, shape, datatype and data.")
    raw = binary_tensors.values_of(tensor, behind)
    return parse_tensor(tensor, spec, None if raw is None else binary_tensors.decode(raw, tensor.get("datatype")))


def _parse_shape(tensor: dict[str, Any], rank: int) -> tuple[int, ...]:
    shape = tensor.get("shape")
    if not isinstance(shape, list) or len(shape) != rank or not all(type(size) is int and size >= 1 for size in shape):
        raise wrong("inputs[0].shape", short(shape), f"a list of {rank} positive integers", "Give the data's shape.")
    return tuple(shape)


def _parse_pixels(tensor: dict[str, Any], image: ImageSpec, sent: NDArray[Any] | None) -> list[NDArray[np.uint8]]:
    shape = _parse_shape(tensor, _IMAGE_RANK)
    wanted = (image.height, image.width, 3)
    if shape[1:] != wanted:
        raise wrong(
            "inputs[0].shape",
            str(list(shape)),
            str(["n", *wanted]).replace("'", ""),
            "Resize to that size, or send the picture files as BYTES and let the endpoint resize them.",
        )
    values = numbers(tensor.get("data"), "inputs[0].data") if sent is None else sent
    if values.size != math.prod(shape):
        raise wrong(
            "inputs[0].data",
            f"{values.size} values",
            str(math.prod(shape)),
            "Make it fit the shape.",
        )
    return list(pixels(values, "inputs[0].data").reshape(shape))


def _parse_texts(tensor: dict[str, Any], sent: list[bytes] | None) -> list[bytes]:
    if sent is None:
        texts = _parse_strings(tensor, tensor.get("data"))
    else:
        elements = _parse_strings(tensor, sent)
        texts = [text_of(item, f"inputs[0], element {index}") for index, item in enumerate(elements)]
    return [text_bytes(item, f"inputs[0].data[{index}]") for index, item in enumerate(texts)]


def _parse_encoded(tensor: dict[str, Any], sent: list[bytes] | None) -> list[bytes]:
    if sent is not None:
        return _parse_strings(tensor, sent)
    return [_decode_base64(item, index) for index, item in enumerate(_parse_strings(tensor, tensor.get("data")))]


def _parse_strings(tensor: dict[str, Any], data: Any) -> list[Any]:
    """Elements of a BYTES tensor of shape [n], or [n, 1]: a column, as MLServer's codecs send it."""
    match tensor.get("shape"):
        case [_, 1]:
            count, _ = _parse_shape(tensor, 2)
            if isinstance(data, list):
                data = [each[0] if isinstance(each, list) and len(each) == 1 else each for each in data]
        case _:
            (count,) = _parse_shape(tensor, 1)
    if not isinstance(data, list) or len(data) != count:
        received = f"{len(data)} values" if isinstance(data, list) else kind_of(data)
        raise wrong("inputs[0].data", received, f"a list of {count} strings", "Make shape and data agree.")
    return data


def _decode_base64(item: Any, index: int) -> bytes:
    where = f"inputs[0].data[{index}]"
    if not isinstance(item, str):
        raise wrong(where, kind_of(item), "a string", "Send the picture file in base64.")
    try:
        return base64.b64decode(item, validate=True)
    except (binascii.Error, ValueError) as error:
        raise wrong(
            where, f"no base64 ({error})", "a picture file in base64", "Encode it: base64 -w0 cat.jpg."
        ) from error


def parse_outputs(document: dict[str, Any], known: tuple[str, ...]) -> dict[str, bool]:
    """Names of the tensors that a request wants; true for those whose values go behind the JSON.

    Raises:
        RequestError: the model gives no such tensor, or the request is malformed there (400).
    """
    outputs, usual = document.get("outputs"), _flag(document, "binary_data_output", "parameters", default=False)
    if outputs is None or outputs == []:
        return dict.fromkeys(known, usual)
    if not isinstance(outputs, list) or not all(isinstance(item, dict) for item in outputs):
        raise wrong("outputs", kind_of(outputs), "a list of objects with a name", "Leave it out to get all.")
    wanted = {}
    for index, item in enumerate(outputs):
        name = item.get("name")
        if name not in known:
            raise wrong(f"outputs[{index}].name", short(name), " or ".join(known), "Use one of these.")
        wanted[name] = _flag(item, "binary_data", f"outputs[{index}].parameters", default=usual)
    return wanted


def _flag(holder: dict[str, Any], name: str, where: str, *, default: bool) -> bool:
    value = parameters_of(holder, where).get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise wrong(f"{where}.{name}", kind_of(value), "true or false", "Leave it out to get JSON.")
    return value
