from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from graftwork.errors import RequestError
from graftwork.preprocess.image import ImageSpec
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
        ({"inputs": [tensor(parameters={"binary_data_size": 36})]}, "binary tensor extension"),
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
