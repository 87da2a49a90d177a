"""What answers rest on, compared with what Keras says of the same network."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from PIL import Image

from graftwork.preprocess.image import ImageSpec, decode_image
from graftwork_jobs.export.engines import export_openvino
from graftwork_serving.explain.explainer import Explainer, NoFeatureMapError
from tests.support.bundles import SMALL_LABELS, SMALL_SIDE, picture_bytes

if TYPE_CHECKING:
    import keras

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
PREDICT = "/v1/endpoints/small/predict"
IMAGE = ImageSpec(height=SMALL_SIDE, width=SMALL_SIDE)
PICTURE = picture_bytes(seed=5, size=(60, 40))


def network(pooling: str, hidden: int, activation: str) -> keras.Model:
    """A small network with such a head."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(3)
    wide = keras.initializers.RandomNormal(stddev=1.0)
    image = keras.Input((SMALL_SIDE, SMALL_SIDE, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    # A gate, as in EfficientNet: pools a map too, but not the last one.
    gate = layers.Dense(8, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Multiply()([x, gate])
    x = layers.Conv2D(16, 3, strides=3, activation="relu", name="map")(x)
    pool = layers.GlobalAveragePooling2D if pooling == "avg" else layers.GlobalMaxPooling2D
    x = pool()(x)
    if hidden:
        x = layers.Dense(hidden, activation="gelu", kernel_initializer=wide)(x)
    x = layers.Dense(3, kernel_initializer=wide, bias_initializer="ones", name="logits")(x)
    return keras.Model(image, layers.Activation(activation, name="scores")(x))


def explained(model: keras.Model, folder: Path, column: int) -> tuple[str, np.ndarray]:
    """Method and shares that serving finds, from the exported network alone."""
    export_openvino(model, folder / "model.xml")
    explanation = Explainer(folder / "model.xml", threads=1).explain(decode_image(PICTURE, IMAGE), column)
    return explanation.method, explanation.shares


def keras_parts(model: keras.Model) -> tuple[np.ndarray, Any]:
    """The last map, shape (height, width, channels), and the layers above it up to the logits as a function."""
    import keras

    pixels = decode_image(PICTURE, IMAGE)[None].astype(np.float32)
    features = np.asarray(keras.Model(model.inputs[0], model.get_layer("map").output)(pixels))
    names = [layer.name for layer in model.layers]
    above = model.layers[names.index("map") + 1 : -1]

    def head(maps: np.ndarray) -> np.ndarray:
        values: Any = maps
        for layer in above:
            values = layer(values)
        return np.asarray(values)

    return features[0], head


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "linear"])
def test_it_is_kerass_own_class_activation_map(tmp_path: Path, activation: str) -> None:
    """The last layer's weights times the last map; under a softmax, what all labels have in common is left out."""
    model = network("avg", 0, activation)
    features, _ = keras_parts(model)
    weights = np.asarray(model.get_layer("logits").kernel)
    if activation == "softmax":
        weights = weights - weights.mean(axis=1, keepdims=True)
    method, shares = explained(model, tmp_path, 2)
    assert method == "class-activation-map"
    assert np.ptp(shares) > 0.002, "a flat map would prove nothing"
    np.testing.assert_allclose(shares, features @ weights[:, 2] / features[..., 0].size, atol=2e-5)


@pytest.mark.parametrize(("pooling", "hidden"), [("avg", 12), ("max", 0), ("max", 12)])
def test_under_other_heads_it_is_what_keras_says_without_each_place(tmp_path: Path, pooling: str, hidden: int) -> None:
    """Each place is set to zero, and Keras' own layers say what is left of the answer."""
    model = network(pooling, hidden, "sigmoid")
    features, head = keras_parts(model)
    whole = head(features[None])[0, 1]
    expected = np.zeros(features.shape[:2])
    for row, column in np.ndindex(expected.shape):
        without = features.copy()
        without[row, column] = 0
        expected[row, column] = whole - head(without[None])[0, 1]
    method, shares = explained(model, tmp_path, 1)
    assert method == "ablation"
    assert np.ptp(shares) > 0.01, "a flat map would prove nothing"
    np.testing.assert_allclose(shares, expected, atol=1e-3)


def test_a_network_without_a_map_is_refused(tmp_path: Path) -> None:
    """One that flattens its pixels has no places left; one with a way past the map cannot be told from it."""
    import keras

    image = keras.Input((SMALL_SIDE, SMALL_SIDE, 3), name="image")
    flat = keras.layers.Dense(3, name="scores")(keras.layers.Flatten()(image))
    with pytest.raises(NoFeatureMapError):
        explained(keras.Model(image, flat), tmp_path, 0)
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
    both = keras.layers.Concatenate()([pooled, keras.layers.Flatten()(image)])
    with pytest.raises(NoFeatureMapError):
        explained(keras.Model(image, keras.layers.Dense(3, name="scores")(both)), tmp_path, 0)


def test_an_endpoint_explains_the_likeliest_label_or_the_one_asked_for(
    client: httpx.Client, small_keras_model: keras.Model
) -> None:
    """Shares, a heat map that lies over the picture, and the ordinary answer beside them."""
    plain = client.post(PREDICT, content=PICTURE).json()["predictions"][0]
    answer = (
        client.post(PREDICT, params={"explain": "cam"}, content=PICTURE).raise_for_status().json()["predictions"][0]
    )
    explanation = answer.pop("explanation")
    assert answer == plain
    assert (explanation["label"], explanation["method"]) == (plain["label"], "class-activation-map")
    assert Image.open(io.BytesIO(base64.b64decode(explanation["heatmap"]))).size == (60, 40)
    constant = np.asarray(small_keras_model.layers[-2].bias)
    logit = np.log([plain["scores"][label] for label in SMALL_LABELS])
    column = SMALL_LABELS.index(plain["label"])
    centred = logit - logit.mean() - (constant - constant.mean())
    assert np.sum(explanation["shares"]) == pytest.approx(centred[column], abs=2e-3)
    other = client.post(PREDICT, params={"explain": "cam", "label": "green"}, content=PICTURE).json()
    assert other["predictions"][0]["explanation"]["label"] == "green"


def test_an_explanation_can_be_a_picture_or_a_tensor(client: httpx.Client) -> None:
    """A PNG by its content type; `explanation` in the Open Inference Protocol, as JSON or behind it."""
    answer = client.post(PREDICT, params={"explain": "cam"}, content=PICTURE, headers={"accept": "image/png"})
    assert answer.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(answer.content)).size == (60, 40)
    shares = client.post(PREDICT, params={"explain": "cam"}, content=PICTURE).json()["predictions"][0]["explanation"]
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(PICTURE).decode()]}
    asked: dict[str, Any] = {"inputs": [tensor], "parameters": {"explain": "cam"}}
    output = client.post("/v2/models/small/infer", json=asked).raise_for_status().json()["outputs"][-1]
    assert (output["name"], output["shape"]) == ("explanation", list(np.shape([shares["shares"]])))
    np.testing.assert_allclose(output["data"], np.ravel(shares["shares"]), atol=1e-4)
    asked["parameters"]["binary_data_output"] = True
    binary = client.post("/v2/models/small/infer", json=asked)
    head = json.loads(binary.content[: int(binary.headers["inference-header-content-length"])])
    size = head["outputs"][-1]["parameters"]["binary_data_size"]
    np.testing.assert_allclose(np.frombuffer(binary.content[-size:], "<f4"), output["data"], atol=1e-6)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("explain=lime", "expected 'cam'"),
        ("explain=cam&label=greem", "did you mean"),
        ("label=green", "Add explain=cam"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_words(client: httpx.Client, query: str, words: str) -> None:
    """Each with the way out."""
    answer = client.post(f"{PREDICT}?{query}", content=PICTURE)
    assert answer.status_code == 400
    assert words in answer.json()["error"].lower() or words in answer.json()["error"]
