from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from graftwork.errors import RequestError
from graftwork.preprocess.image import ImageSpec
from graftwork.preprocess.text import TextSpec
from graftwork_serving.web.messages import HttpRequest
from graftwork_serving.web.open_inference import parse_infer

TENSORS = ("scores", "label")
IMAGE = ImageSpec(height=2, width=3)
PIXELS = np.arange(36, dtype=np.uint8).reshape(2, 2, 3, 3)


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "image", "shape": [2, 2, 3, 3], "datatype": "UINT8", "data": PIXELS.ravel().tolist()} | changes


def request(content: Any, **headers: str) -> HttpRequest:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return HttpRequest(
        query={},
        body=body,
        headers={name.replace("_", "-").encode(): value.encode() for name, value in headers.items()},
    )


@pytest.mark.parametrize("datatype", ["UINT8", "FP32"])
@pytest.mark.parametrize("nested", [False, True])
def test_pixels_arrive_as_sent(datatype: str, nested: bool) -> None:
    """Flat and nested tensors of either type give the same pixels."""
    data = PIXELS.astype(float if datatype == "FP32" else np.uint8)
    sent = tensor(datatype=datatype, data=data.tolist() if nested else data.ravel().tolist())
    parsed = parse_infer(request({"id": "a", "inputs": [sent]}), IMAGE, TENSORS)
    assert parsed.id == "a"
    np.testing.assert_array_equal(np.stack(parsed.examples), PIXELS)


def test_encoded_pictures_arrive_as_sent() -> None:
    """BYTES tensors carry files in base64."""
    files = [b"one", bytes(range(256))]
    data = [base64.b64encode(file).decode() for file in files]
    parsed = parse_infer(request({"inputs": [tensor(datatype="BYTES", shape=[2], data=data)]}), IMAGE, TENSORS)
    assert parsed.examples == files


@pytest.mark.parametrize("nested", [False, True])
def test_a_column_of_files_or_texts_is_taken_as_a_row_is(nested: bool) -> None:
    """Shape [n, 1], as the codecs of MLServer's clients send BYTES tensors; but no other shape of two dimensions."""
    spec = TextSpec(tokenizer="{}", pad_id=0, max_tokens=8)
    sent = {
        "name": "text",
        "datatype": "BYTES",
        "shape": [2, 1],
        "data": [["one"], ["two"]] if nested else ["one", "two"],
    }
    assert parse_infer(request({"inputs": [sent]}), spec, TENSORS).examples == [b"one", b"two"]
    for changes in ({"shape": [1, 2]}, {"shape": [2, True]}, {"shape": [3, 1]}, {"data": {"one": 1, "two": 2}}):
        with pytest.raises(RequestError, match=r"inputs\[0\]"):
            parse_infer(request({"inputs": [sent | changes]}), spec, TENSORS)


def test_null_is_as_good_as_nothing() -> None:
    """Clients with typed messages write null for every field that they do not fill."""
    absent = dict.fromkeys(("id", "parameters", "outputs"))
    parsed = parse_infer(request({"inputs": [tensor(parameters=None)], **absent}), IMAGE, TENSORS)
    assert (parsed.id, parsed.outputs) == (None, dict.fromkeys(TENSORS, False))
    outputs = [{"name": "label", "parameters": None}, {"name": "scores", "parameters": {"binary_data": None}}]
    content = {"inputs": [tensor()], "outputs": outputs, "parameters": {"binary_data_output": True, "explain": None}}
    parsed = parse_infer(request(content), IMAGE, TENSORS)
    assert (parsed.outputs, parsed.explain) == ({"label": True, "scores": True}, None)
    entry = tensor(data=None, parameters={"binary_data_size": 36})
    sent = parse_infer(binary_request({"inputs": [entry]}, PIXELS.tobytes()), IMAGE, TENSORS)
    np.testing.assert_array_equal(np.stack(sent.examples), PIXELS)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"{", "no JSON document"),
        (b"\xff\xfe", "no JSON document"),
        (b"[" * 100_000, "no JSON document"),
        ([], "request body: received a list"),
        ({}, "inputs: received nothing"),
        ({"inputs": []}, "inputs: received an empty list"),
        ({"inputs": [tensor(), tensor()]}, "inputs: received 2 tensors"),
        ({"inputs": ["x"]}, "inputs[0]: received a string"),
        ({"inputs": [tensor(name="x")]}, "inputs[0].name"),
        ({"inputs": [tensor(datatype="INT64")]}, "inputs[0].datatype"),
        ({"inputs": [tensor(datatype=["UINT8"])]}, "inputs[0].datatype"),
        ({"inputs": [tensor(shape=[2, 3, 2, 3])]}, "inputs[0].shape"),
        ({"inputs": [tensor(shape=[36])]}, "inputs[0].shape"),
        ({"inputs": [tensor(shape="2")]}, "inputs[0].shape"),
        ({"inputs": [tensor(shape=[2.0, 2, 3, 3])]}, "inputs[0].shape"),
        ({"inputs": [tensor(shape=[10**12, 2, 3, 3])]}, "inputs[0].data: received 36 values"),
        ({"inputs": [tensor(data=[1, 2])]}, "inputs[0].data: received 2 values"),
        ({"inputs": [tensor(data=[[1], [2, 3]])]}, "ragged"),
        ({"inputs": [tensor(data=["1"] * 36)]}, "no number"),
        ({"inputs": [tensor(data=[None] * 36)]}, "no number"),
        ({"inputs": [tensor(data=[256] * 36)]}, "whole numbers 0..255"),
        ({"inputs": [tensor(data=[-1] * 36)]}, "whole numbers 0..255"),
        ({"inputs": [tensor(data=[0.5] * 36, datatype="FP32")]}, "whole numbers 0..255"),
        ({"inputs": [tensor(data=[float("nan")] * 36, datatype="FP32")]}, "whole numbers 0..255"),
        ({"inputs": [tensor(data=[10**40] * 36)]}, "inputs[0].data"),
        ({"inputs": [tensor(datatype="BYTES", shape=[1], data=["%%%"])]}, "base64"),
        ({"inputs": [tensor(datatype="BYTES", shape=[1], data=[5])]}, "inputs[0].data[0]"),
        ({"inputs": [tensor(datatype="BYTES", shape=[2], data=["aa=="])]}, "1 values"),
        (
            {"inputs": [tensor(parameters={"binary_data_size": 36})]},
            "inputs[0].parameters.binary_data_size: received 36",
        ),
        ({"inputs": [tensor()], "parameters": {"binary_data_output": 1}}, "parameters.binary_data_output: received a"),
        ({"inputs": [tensor()], "outputs": [{"name": "label", "parameters": 1}]}, "outputs[0].parameters"),
        ({"inputs": [tensor(parameters=5)]}, "inputs[0].parameters"),
        ({"id": 5, "inputs": [tensor()]}, "id: received a number"),
        ({"inputs": [tensor()], "outputs": [{"name": "logits"}]}, "outputs[0].name"),
        ({"inputs": [tensor()], "outputs": "scores"}, "outputs: received a string"),
    ],
)
def test_a_wrong_request_is_refused_by_the_field_that_is_wrong(content: Any, part: str) -> None:
    """Every mistake is a 400 that names the field."""
    with pytest.raises(RequestError) as refused:
        parse_infer(request(content), IMAGE, TENSORS)
    assert refused.value.status == 400
    assert part in refused.value.message


def test_a_wrong_content_type_is_refused() -> None:
    """Something that says it is a picture is not parsed as JSON."""
    with pytest.raises(RequestError, match="image/png") as refused:
        parse_infer(request({"inputs": [tensor()]}, content_type="image/png"), IMAGE, TENSORS)
    assert refused.value.status == 415


def binary_request(document: Any, values: bytes, *, length: int | str | None = None) -> HttpRequest:
    head = json.dumps(document).encode()
    headers = {b"inference-header-content-length": str(len(head) if length is None else length).encode()}
    return HttpRequest(query={}, body=head + values, headers={**headers, b"content-type": b"application/octet-stream"})


def behind(values: bytes, **changes: Any) -> dict[str, Any]:
    """A tensor whose values are behind the JSON."""
    entry = tensor(parameters={"binary_data_size": len(values)}) | changes
    return {name: value for name, value in entry.items() if name != "data" or "data" in changes}


@pytest.mark.parametrize(("datatype", "dtype"), [("UINT8", "u1"), ("FP32", "<f4")])
def test_pixels_behind_the_json_arrive_as_sent(datatype: str, dtype: str) -> None:
    """Little-endian, row by row."""
    values = PIXELS.astype(dtype).tobytes()
    document = {"inputs": [behind(values, datatype=datatype)], "parameters": {"binary_data_output": True}}
    parsed = parse_infer(binary_request(document, values), IMAGE, TENSORS)
    np.testing.assert_array_equal(np.stack(parsed.examples), PIXELS)
    assert parsed.outputs == {"scores": True, "label": True}


def test_files_behind_the_json_arrive_as_sent() -> None:
    """Each with its length in front; no base64."""
    files = [b"one", b"", bytes(range(256))]
    values = b"".join(len(file).to_bytes(4, "little") + file for file in files)
    document = {
        "inputs": [behind(values, datatype="BYTES", shape=[3])],
        "outputs": [{"name": "label"}, {"name": "scores", "parameters": {"binary_data": True}}],
    }
    parsed = parse_infer(binary_request(document, values), IMAGE, TENSORS)
    assert parsed.examples == files
    assert parsed.outputs == {"label": False, "scores": True}


@pytest.mark.parametrize(
    ("entry", "values", "length", "part"),
    [
        (behind(bytes(36)), bytes(35), None, "binary_data_size: received 36, expected 35"),
        (behind(bytes(36), parameters={}), bytes(36), None, "binary_data_size: received None, expected 36"),
        (behind(bytes(36), parameters={"binary_data_size": True}), b"x", None, "binary_data_size: received True"),
        (behind(bytes(36), data=[1]), bytes(36), None, "both in the JSON and behind it"),
        (behind(bytes(30)), bytes(30), None, "inputs[0].data: received 30 values"),
        (behind(bytes(7), datatype="FP32"), bytes(7), None, "a multiple of 4"),
        (behind(bytes(3), datatype="BYTES", shape=[1]), bytes(3), None, "element 0"),
        (behind(b"\xff" * 8, datatype="BYTES", shape=[1]), b"\xff" * 8, None, "element 0"),
        (behind(bytes(8), datatype="BYTES", shape=[3]), bytes(8), None, "2 values"),
        (behind(b""), b"", 10**6, "Inference-Header-Content-Length"),
        (behind(b""), b"", "-1", "Inference-Header-Content-Length"),
        (behind(b""), b"", "9" * 5000, "Inference-Header-Content-Length"),
        (behind(b""), b"", 5, "no JSON document"),
    ],
)
def test_wrong_values_behind_the_json_are_refused(entry: Any, values: bytes, length: Any, part: str) -> None:
    """Every mistake is a 400 that says what does not fit."""
    with pytest.raises(RequestError) as refused:
        parse_infer(binary_request({"inputs": [entry]}, values, length=length), IMAGE, TENSORS)
    assert refused.value.status == 400
    assert part in refused.value.message


def test_texts_behind_the_json_must_be_texts() -> None:
    """Strings as they are; what is no UTF-8 or empty is refused."""
    spec = TextSpec(tokenizer="{}", pad_id=0, max_tokens=8)
    values = b"".join(len(text).to_bytes(4, "little") + text for text in (b"good", "schön".encode()))
    entry = {"name": "text", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(values)}}
    parsed = parse_infer(binary_request({"inputs": [entry]}, values), spec, TENSORS)
    assert parsed.examples == [b"good", "schön".encode()]
    for bad, part in ((b"\xff", "UTF-8"), (b" ", "empty")):
        values = len(bad).to_bytes(4, "little") + bad
        entry = {"name": "text", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(values)}}
        with pytest.raises(RequestError, match=part):
            parse_infer(binary_request({"inputs": [entry]}, values), spec, TENSORS)
