from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from graftwork.bundle.answers import Answers, LabelAnswers, ScoreAnswers
from graftwork.errors import RequestError
from graftwork.preprocess.image import ImageSpec
from graftwork.preprocess.text import TextSpec
from graftwork_serving.inputs import PictureReader
from graftwork_serving.rpc.messages import message_class
from graftwork_serving.rpc.translate import encode_infer, parse_infer
from graftwork_serving.served_model import ServedModel
from graftwork_serving.service import Prediction
from graftwork_serving.web.open_inference import InferRequest
from tests.unit.serving.test_tensorflow_serving import NoEngine

TENSORS = ("scores", "label")
IMAGE = ImageSpec(height=2, width=3)
TEXT = TextSpec(tokenizer="{}", pad_id=0, max_tokens=8)
PIXELS = np.arange(36, dtype=np.uint8).reshape(2, 2, 3, 3)
FILES = [b"one", b"", bytes(range(256))]


def tensor(name: str = "image", datatype: str = "UINT8", shape: Any = (2, 2, 3, 3), **contents: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape)} | ({"contents": contents} if contents else {})


def request(*inputs: dict[str, Any], **fields: Any) -> Any:
    return message_class("ModelInferRequest")(inputs=inputs, **fields)


def packed(items: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(item)) + item for item in items)


@pytest.mark.parametrize(
    "message",
    [
        request(tensor(uint_contents=PIXELS.ravel().tolist())),
        request(tensor(datatype="FP32", fp32_contents=PIXELS.ravel().tolist())),
        request(tensor(), raw_input_contents=[PIXELS.tobytes()]),
        request(tensor(datatype="FP32"), raw_input_contents=[PIXELS.astype("<f4").tobytes()]),
    ],
)
def test_pixels_arrive_as_sent(message: Any) -> None:
    """Typed and raw contents of either datatype give the same pixels."""
    np.testing.assert_array_equal(np.stack(parse_infer(message, IMAGE, TENSORS).examples), PIXELS)


def test_files_and_texts_arrive_as_sent() -> None:
    """No base64 in either form; answers are raw where the request was, and only what it names."""
    typed = parse_infer(request(tensor(datatype="BYTES", shape=[3], bytes_contents=FILES)), IMAGE, TENSORS)
    assert (typed.examples, typed.outputs, typed.id) == (FILES, {"scores": False, "label": False}, None)
    message = request(
        tensor(datatype="BYTES", shape=[3]), raw_input_contents=[packed(FILES)], outputs=[{"name": "label"}], id="7"
    )
    raw = parse_infer(message, IMAGE, TENSORS)
    assert (raw.examples, raw.outputs, raw.id) == (FILES, {"label": True}, "7")
    text = request(tensor(name="text", datatype="BYTES", shape=[1], bytes_contents=["schön".encode()]))
    assert parse_infer(text, TEXT, TENSORS).examples == ["schön".encode()]


@pytest.mark.parametrize(
    ("message", "part"),
    [
        (request(), "inputs: received 0 tensors"),
        (request(tensor(), tensor()), "inputs: received 2 tensors"),
        (request(tensor(name="x")), "inputs[0].name"),
        (request(tensor(datatype="INT64", int64_contents=[1])), "inputs[0].datatype"),
        (request(tensor(datatype="COMPLEX"), raw_input_contents=[b"x"]), "inputs[0].datatype"),
        (request(tensor()), "received 0 values"),
        (request(tensor(fp32_contents=[1.0])), "received 0 values"),
        (request(tensor(uint_contents=[256] * 36)), "whole numbers 0..255"),
        (request(tensor(datatype="FP32", fp32_contents=[np.nan] * 36)), "whole numbers 0..255"),
        (request(tensor(shape=[2**40, 2, 3, 3], uint_contents=[1])), "received 1 values"),
        (request(tensor(shape=[-1, 2, 3, 3], uint_contents=[1])), "inputs[0].shape"),
        (request(tensor(uint_contents=[1]), raw_input_contents=[PIXELS.tobytes()]), "raw_input_contents"),
        (request(tensor(), raw_input_contents=[PIXELS.tobytes()] * 2), "raw_input_contents"),
        (request(tensor(datatype="FP32"), raw_input_contents=[bytes(7)]), "a multiple of 4"),
        (request(tensor(datatype="BYTES", shape=[1]), raw_input_contents=[b"\xff" * 8]), "element 0"),
        (request(tensor(uint_contents=PIXELS.ravel().tolist()), outputs=[{"name": "x"}]), "outputs[0].name"),
    ],
)
def test_a_wrong_request_is_refused_by_the_field_that_is_wrong(message: Any, part: str) -> None:
    """Every mistake is named."""
    with pytest.raises(RequestError) as refused:
        parse_infer(message, IMAGE, TENSORS)
    assert refused.value.status == 400
    assert part in refused.value.message


@pytest.mark.parametrize(("data", "part"), [(b"\xff", "UTF-8"), (b" ", "empty")])
def test_texts_must_be_texts(data: bytes, part: str) -> None:
    """What is no UTF-8 or empty is refused."""
    with pytest.raises(RequestError, match=part):
        parse_infer(request(tensor(name="text", datatype="BYTES", shape=[1], bytes_contents=[data])), TEXT, TENSORS)


@pytest.mark.parametrize("is_raw", [False, True])
def test_an_explanation_is_asked_for_and_given_as_in_json(is_raw: bool) -> None:
    """Its parameters arrive whatever their type, and its tensor stands behind the model's own in the answer's form."""
    parameters = {"explain": {"string_param": "cam"}, "explain_label": {"int64_param": 7}}
    parsed = parse_infer(
        request(tensor(), raw_input_contents=[PIXELS.tobytes()], parameters=parameters), IMAGE, TENSORS
    )
    assert (parsed.explain, parsed.explain_label) == ("cam", 7)
    empty = request(tensor(), raw_input_contents=[PIXELS.tobytes()], parameters={"explain": {}})
    assert (parse_infer(empty, IMAGE, TENSORS).explain, parse_infer(empty, IMAGE, TENSORS).explain_label) == ("", None)
    shares = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    model = ServedModel(
        name="m",
        version="3",
        digest="0",
        answers=ScoreAnswers(("no", "ja")),
        reader=PictureReader(spec=IMAGE, max_pixels=9),
        engine=NoEngine(),
        golden_difference=0.0,
    )
    asked = InferRequest(id=None, examples=[], outputs={"scores": is_raw})
    prediction = Prediction(model=model, scores=np.zeros((2, 2), np.float32), seconds=0.0)
    output = (answer := encode_infer(prediction, asked, shares)).outputs[1]
    assert (output.name, output.datatype, list(output.shape)) == ("explanation", "FP32", [2, 2, 3])
    values = np.frombuffer(answer.raw_output_contents[1], "<f4") if is_raw else output.contents.fp32_contents
    assert list(values) == list(range(12))


@pytest.mark.parametrize("is_raw", [False, True])
def test_answers_carry_every_datatype(is_raw: bool) -> None:
    """Numbers, strings and booleans, typed or raw."""
    values = np.asarray([[0.25, 0.75], [0.5, 0.5]], np.float32)

    def answer(answers: Answers) -> Any:
        model = ServedModel(
            name="m",
            version="3",
            digest="0",
            answers=answers,
            reader=PictureReader(spec=IMAGE, max_pixels=9),
            engine=NoEngine(),
            golden_difference=0.0,
        )
        asked = InferRequest(id="7", examples=[], outputs=dict.fromkeys(answers.tensors(), is_raw))
        return encode_infer(Prediction(model=model, scores=values, seconds=0.0), asked)

    classes = answer(ScoreAnswers(("no", "ja")))
    given = answer(LabelAnswers(("a", "b"), np.asarray([0.5, 0.5], np.float32)))
    assert (classes.model_name, classes.model_version, classes.id) == ("m", "3", "7")
    assert [list(output.shape) for output in classes.outputs] == [[2, 2], [2]]
    assert [output.datatype for output in given.outputs] == ["FP32", "BOOL"]
    if is_raw:
        assert list(classes.raw_output_contents) == [values.astype("<f4").tobytes(), packed([b"ja", b"no"])]
        assert given.raw_output_contents[1] == bytes([0, 1, 1, 1])
    else:
        assert list(classes.outputs[0].contents.fp32_contents) == values.ravel().tolist()
        assert list(classes.outputs[1].contents.bytes_contents) == [b"ja", b"no"]
        assert list(given.outputs[1].contents.bool_contents) == [False, True, True, True]
