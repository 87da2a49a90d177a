"""The Open Inference Protocol's gRPC messages to what its JSON says, and back. Pure, no I/O."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from graftwork.errors import RequestError
from graftwork.preprocess.inputs import InputSpec
from graftwork_serving.rpc.messages import message_class
from graftwork_serving.service import Prediction
from graftwork_serving.web import binary_tensors
from graftwork_serving.web.open_inference import EXPLANATION_NAME, InferRequest, parse_outputs, parse_tensor
from graftwork_serving.web.values import wrong

# Which field of InferTensorContents holds the values of a datatype that models here take or give.
_CONTENTS: Final = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def parse_infer(message: Any, inputs: InputSpec, tensors: tuple[str, ...]) -> InferRequest:
    """Read a ModelInferRequest.

    Args:
        message: it.
        inputs: what the model takes.
        tensors: names of what the model gives.

    Raises:
        RequestError: anything about it is wrong (400); the message names the field and the fix.
    """
    if len(message.inputs) != 1:
        raise wrong("inputs", f"{len(message.inputs)} tensors", "one", "Send the model's only input.")
    sent = message.inputs[0]
    tensor = {"name": sent.name, "datatype": sent.datatype, "shape": list(sent.shape)}
    names = [{"name": output.name} for output in message.outputs]
    wanted = parse_outputs({"outputs": names}, tensors)
    return InferRequest(
        id=message.id or None,
        examples=parse_tensor(tensor, inputs, _values(message)),
        outputs=dict.fromkeys(wanted, bool(message.raw_input_contents)),
        explain=_parameter(message, "explain"),
        explain_label=_parameter(message, "explain_label"),
    )


def encode_infer(prediction: Prediction, request: InferRequest, shares: NDArray[np.float32] | None = None) -> Any:
    """A ModelInferResponse; values are raw where the request's were.

    Args:
        prediction: what came out.
        request: what was asked for.
        shares: what each example's answer rests on, shape (examples, rows, columns), where that was asked for.
    """
    model, rows = prediction.model, len(prediction.scores)
    tensors = model.answers.tensors()
    answer = message_class("ModelInferResponse")(
        model_name=model.name, model_version=model.version, id=request.id or ""
    )
    for name, is_raw in request.outputs.items():
        datatype, shape = tensors[name]
        _add_output(answer, name, datatype, [rows, *shape], model.answers.data(name, prediction.scores), is_raw=is_raw)
    if shares is not None:
        is_raw, values = any(request.outputs.values()), shares.ravel().tolist()
        _add_output(answer, EXPLANATION_NAME, "FP32", list(shares.shape), values, is_raw=is_raw)
    return answer


def _add_output(answer: Any, name: str, datatype: str, shape: list[int], values: list[Any], *, is_raw: bool) -> None:
    output = answer.outputs.add(name=name, datatype=datatype, shape=shape)
    if is_raw:
        answer.raw_output_contents.append(binary_tensors.encode(values, datatype))
    else:
        encoded = [value.encode() for value in values] if datatype == "BYTES" else values
        getattr(output.contents, _CONTENTS[datatype]).extend(encoded)


def _parameter(message: Any, name: str) -> Any:
    """A parameter's value, whatever its type; None where it is not given."""
    if name not in message.parameters:
        return None
    given = message.parameters[name]
    kind = given.WhichOneof("parameter_choice")
    return "" if kind is None else getattr(given, kind)


def _values(message: Any) -> NDArray[Any] | list[bytes]:
    sent = message.inputs[0]
    if message.raw_input_contents:
        if len(message.raw_input_contents) != 1 or sent.HasField("contents"):
            raise RequestError(
                400, "raw_input_contents: expected the values of the one input, and no contents beside. Send either."
            )
        (raw,) = message.raw_input_contents
        return binary_tensors.decode(raw, sent.datatype)
    field = _CONTENTS.get(sent.datatype)
    if sent.datatype == "BYTES":
        return list(sent.contents.bytes_contents)
    # Datatypes that no model takes are refused by whoever looks at the tensor.
    return np.asarray(getattr(sent.contents, field)) if field else np.zeros(0)
