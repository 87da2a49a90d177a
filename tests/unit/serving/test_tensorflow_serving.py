from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from graftwork.bundle.answers import Answers, LabelAnswers, NumberAnswers, ScoreAnswers
from graftwork.errors import RequestError
from graftwork.preprocess.image import ImageSpec
from graftwork.preprocess.inputs import InputSpec
from graftwork.preprocess.text import TextSpec
from graftwork.spec.engine import EngineName
from graftwork_serving.inputs import PictureReader
from graftwork_serving.routing import Arm, RoutedModel
from graftwork_serving.served_model import ServedModel
from graftwork_serving.service import Prediction
from graftwork_serving.web import tensorflow_serving as tfs

IMAGE = ImageSpec(height=2, width=3)
TEXT = TextSpec(tokenizer="{}", pad_id=0, max_tokens=8)
PIXELS = np.arange(36, dtype=np.uint8).reshape(2, 2, 3, 3)
FILES = [b"one", bytes(range(256))]
SCORES = ScoreAnswers(("no", "yes"))
LABELS = LabelAnswers(("a", "b"), np.asarray([0.5, 0.75], np.float32))
VALUES = np.asarray([[0.25, 0.75], [0.5, 0.5]], np.float32)


class NoEngine:
    """Never asked."""

    name: EngineName = "openvino"
    batch_size = 1

    def predict(self, batch: np.ndarray, *, alone: bool = False) -> np.ndarray:
        raise NotImplementedError


def model(answers: Answers, *, version: str = "3", alias: str | None = None) -> ServedModel:
    return ServedModel(
        name="m",
        version=version,
        digest="0",
        answers=answers,
        reader=PictureReader(spec=IMAGE, max_pixels=100),
        engine=NoEngine(),
        golden_difference=0.0,
        alias=alias,
    )


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def parse(document: Any, inputs: InputSpec = IMAGE, answers: Answers = SCORES) -> tfs.PredictRequest:
    return tfs.parse_predict(json.dumps(document).encode(), inputs, answers)


def answer(values: np.ndarray, answers: Answers, document: Any) -> Any:
    prediction = Prediction(model=model(answers), scores=values, seconds=0.0)
    return tfs.encode_predict(prediction, parse(document, answers=answers))


@pytest.mark.parametrize(
    "document",
    [
        {"instances": [b64(file) for file in FILES]},
        {"instances": [{"image": b64(file)} for file in FILES]},
        {"inputs": [b64(file) for file in FILES]},
        {"inputs": {"image": [b64(file) for file in FILES]}},
        {"signature_name": "serving_default", "instances": [b64(file) for file in FILES], "unknown": 1},
        {"signature_name": "", "instances": [{"b64": b64(file)["b64"].rstrip("=") + "\n"} for file in FILES]},
    ],
)
def test_files_arrive_as_sent(document: Any) -> None:
    """Rows and columns, named or not, with and without padding."""
    assert parse(document).examples == FILES


@pytest.mark.parametrize(
    "document",
    [
        {"instances": PIXELS.tolist()},
        {"instances": [{"image": row} for row in PIXELS.astype(float).tolist()]},
        {"inputs": PIXELS.tolist()},
        {"inputs": {"image": PIXELS.tolist()}},
    ],
)
def test_pixels_arrive_as_sent(document: Any) -> None:
    """Rows and columns, named or not, whole numbers or decimal."""
    np.testing.assert_array_equal(np.stack(parse(document).examples), PIXELS)


def test_texts_arrive_as_sent() -> None:
    """As strings or as bytes."""
    for document in (
        {"instances": ["good", "schön"]},
        {"instances": [{"text": "good"}, {"text": "schön"}]},
        {"inputs": {"text": ["good", b64("schön".encode())]}},
    ):
        assert parse(document, TEXT).examples == [b"good", "schön".encode()]


def test_several_tensors_are_named_and_one_is_not() -> None:
    """Rows answer rows, columns answer columns."""
    rows, columns = {"instances": FILES_AS_ROWS}, {"inputs": FILES_AS_ROWS}
    named = [{"scores": [0.25, 0.75], "label": "yes"}, {"scores": [0.5, 0.5], "label": "no"}]
    assert answer(VALUES, SCORES, rows) == {"predictions": named}
    assert answer(VALUES, SCORES, columns) == {"outputs": {"scores": VALUES.tolist(), "label": ["yes", "no"]}}
    only = {"signature_name": "scores"}
    assert answer(VALUES, SCORES, rows | only) == {"predictions": VALUES.tolist()}
    assert answer(VALUES, SCORES, columns | only) == {"outputs": VALUES.tolist()}
    assert answer(VALUES, LABELS, rows)["predictions"][0] == {"scores": [0.25, 0.75], "given": [False, True]}
    numbers = np.asarray([[3.5], [4.0]], np.float32)
    assert answer(numbers, NumberAnswers(("price",)), rows) == {"predictions": [[3.5], [4.0]]}


FILES_AS_ROWS = [b64(file) for file in FILES]


def test_examples_give_the_feature_that_the_model_takes() -> None:
    """A value, a list of one value, a flat list of pixels, or the context's; other features are passed over."""

    def examples(document: Any, inputs: InputSpec = IMAGE) -> Any:
        return tfs.parse_examples(json.dumps(document).encode(), inputs, signature=tfs.CLASSIFY_SIGNATURE)

    rows: list[Any] = [{"image": b64(FILES[0]), "camera": [1, 2]}, {"image": [b64(FILES[1])]}]
    assert examples({"examples": rows}) == FILES
    assert examples({"examples": rows, "signature_name": "classification", "context": {"camera": 1}}) == FILES
    flat = examples({"examples": [{"image": row} for row in PIXELS.reshape(2, 18).tolist()]})
    np.testing.assert_array_equal(np.stack(flat), PIXELS)
    assert examples({"context": {"text": "good"}, "examples": [{}, {"x": 1}]}, TEXT) == [b"good", b"good"]


def test_classes_and_numbers_of_examples() -> None:
    """Labels in their order with their scores; one number an example."""
    classified = tfs.encode_classify(Prediction(model=model(SCORES), scores=VALUES, seconds=0.0))
    assert classified == {"results": [[["no", 0.25], ["yes", 0.75]], [["no", 0.5], ["yes", 0.5]]]}
    numbers = np.asarray([[3.5], [4.0]], np.float32)
    regressed = tfs.encode_regress(Prediction(model=model(NumberAnswers(("n",))), scores=numbers, seconds=0.0))
    assert regressed == {"results": [3.5, 4.0]}
    assert [tfs.can_classify(each) for each in (SCORES, LABELS, NumberAnswers(("n",)))] == [True, True, False]
    regress = [tfs.can_regress(each) for each in (SCORES, NumberAnswers(("n",)), NumberAnswers(("n", "m")))]
    assert regress == [False, True, False]


def test_versions_are_integers_and_labels_are_aliases() -> None:
    """A digest's start counts as hexadecimal; either form names the version; every version is listed."""
    champion, old = model(SCORES, version="00ff00ff00ff", alias="champion"), model(SCORES, version="3")
    served = RoutedModel(name="m", arms=(Arm(reference="m@champion", model=champion), Arm(reference="m/3", model=old)))
    listed = tfs.model_status(served.versions)["model_version_status"]
    assert [each["version"] for each in listed] == [str(0xFF00FF00FF), "3"]
    assert tfs.find_version(served, None, None) is None
    assert tfs.find_version(served, None, "champion") is champion
    assert tfs.find_version(served, "00ff00ff00ff", None) is champion
    assert tfs.find_version(served, str(0xFF00FF00FF), None) is champion
    assert tfs.find_version(served, "3", None) is old
    for version, label, status in (("4", None, 404), (None, "stable", 400)):
        with pytest.raises(RequestError) as refused:
            tfs.find_version(served, version, label)
        assert refused.value.status == status


def test_signatures_are_those_that_requests_may_name() -> None:
    """Metadata lists what works."""
    for answers in (SCORES, LABELS, NumberAnswers(("n",)), NumberAnswers(("n", "m"))):
        signatures = tfs.model_metadata(model(answers))["metadata"]["signature_def"]["signature_def"]
        predict = {name for name, each in signatures.items() if each["method_name"] == "tensorflow/serving/predict"}
        for name in predict:
            tensors = parse({"signature_name": name, "instances": FILES_AS_ROWS}, answers=answers).tensors
            assert set(tensors) == set(signatures[name]["outputs"])
        assert ("classification" in signatures) == tfs.can_classify(answers)
        assert ("regression" in signatures) == tfs.can_regress(answers)
    given = tfs.model_metadata(model(LABELS))["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert given["outputs"]["given"]["dtype"] == "DT_BOOL"
    assert given["inputs"]["image"]["tensor_shape"]["dim"] == [{"size": "-1", "name": ""}]


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"", "no JSON document"),
        (b"[" * 100_000, "no JSON document"),
        (b"[]", "request body: received a list"),
        ({}, "neither instances nor inputs"),
        ({"instances": [1], "inputs": [1]}, "both instances and inputs"),
        ({"instances": []}, "instances: received an empty list"),
        ({"instances": 5}, "instances: received a number"),
        ({"inputs": b64(b"x")}, "inputs: received an object"),
        ({"inputs": {"picture": [b64(b"x")]}}, 'inputs: received keys ["picture"]'),
        ({"instances": [{"image": b64(b"x"), "more": 1}]}, 'instances[0]: received keys ["image", "more"]'),
        ({"instances": [b64(b"x"), {"image": b64(b"x")}]}, "instances[1]: received an object"),
        ({"instances": [b64(b"x"), PIXELS[0].tolist()]}, "instances: received files and pixels"),
        ({"instances": ["x"]}, "instances[0]: received a string"),
        ({"instances": [{"b64": "%%%"}]}, "instances[0].b64: received no base64"),
        ({"instances": [{"b64": 5}]}, "instances[0]: received keys"),
        ({"instances": PIXELS[0].tolist()}, "instances[0]: received values of shape [3, 3]"),
        ({"instances": [[[1], [2, 3]]]}, "ragged"),
        ({"instances": np.full((1, 2, 3, 3), 256).tolist()}, "whole numbers 0..255"),
        ({"instances": np.full((1, 2, 3, 3), np.nan).tolist()}, "whole numbers 0..255"),
        ({"signature_name": 100, "instances": [b64(b"x")]}, "signature_name: received a number"),
        ({"signature_name": "tune", "instances": [b64(b"x")]}, "serving_default or scores"),
    ],
)
def test_a_wrong_request_is_refused_by_the_field_that_is_wrong(body: Any, part: str) -> None:
    """Every mistake is a 400 that names the field."""
    with pytest.raises(RequestError) as refused:
        tfs.parse_predict(body if isinstance(body, bytes) else json.dumps(body).encode(), IMAGE, SCORES)
    assert refused.value.status == 400
    assert part in refused.value.message


@pytest.mark.parametrize(
    ("document", "part"),
    [
        ({}, "examples: received nothing"),
        ({"examples": []}, "examples: received an empty list"),
        ({"examples": ["x"]}, "examples[0]: received a string"),
        ({"examples": [{"x": 1}]}, 'the feature "image"'),
        ({"examples": [{"image": 1}]}, "examples[0].image: received a number"),
        ({"examples": [{"image": [1, 2]}]}, "examples[0].image: received values of shape [2]"),
        ({"examples": [{"image": b64(b"x")}], "context": 1}, "context: received a number"),
        ({"examples": [{"image": b64(b"x")}], "context": {"image": b64(b"x")}}, "a feature of the context too"),
        ({"examples": [{"image": b64(b"x")}], "signature_name": "scores"}, "classification or serving_default"),
    ],
)
def test_wrong_examples_are_refused(document: Any, part: str) -> None:
    """Every mistake is a 400 that names the field."""
    with pytest.raises(RequestError) as refused:
        tfs.parse_examples(json.dumps(document).encode(), IMAGE, signature=tfs.CLASSIFY_SIGNATURE)
    assert refused.value.status == 400
    assert part in refused.value.message
