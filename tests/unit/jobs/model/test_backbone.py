from __future__ import annotations

import json
import random
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from graftwork.errors import SpecError
from graftwork_jobs.model.rebuild import leaf_layers

from .conftest import LITE0, Load


def _pixels(side: int = 32) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(2).uniform(0, 255, (2, side, side, 3)).astype(np.float32)


@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50", "DenseNet121", "MobileNetV3Small"])
def test_an_architecture_sees_pictures_as_it_was_trained_with_them(load: Load, name: str) -> None:
    """Our network on RGB 0..255 equals Keras' own network on what preprocess_input makes of it."""
    loaded = load(name=name, weights="none")
    original = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(32, 32, 3))
    ours = [weight for layer in leaf_layers(loaded.model) for weight in layer.weights]
    for weight, value in zip(original.weights, ours, strict=True):
        weight.assign(value)
    family = sys.modules[getattr(keras.applications, name).__module__]
    expected = original(family.preprocess_input(_pixels()))
    np.testing.assert_allclose(loaded.model(_pixels()), expected, rtol=1e-4, atol=1e-5)
    assert len(loaded.model.output_shape) == 4


@pytest.mark.parametrize(
    ("received", "near"),
    [("EfficentNetB0", "EfficientNetB0"), ("resnet50", "ResNet50"), ("MobileNetv2", "MobileNetV2")],
)
def test_an_unknown_architecture_lists_near_names(load: Load, received: str, near: str) -> None:
    """A typo in `backbone.name` says what may have been meant."""
    with pytest.raises(SpecError, match=rf"spec\.backbone\.name: received {received}.*{near}"):
        load(name=received)


def test_an_unknown_preset_lists_near_names(load: Load) -> None:
    """A typo in `backbone.preset` says what may have been meant."""
    with pytest.raises(SpecError, match=r"spec\.backbone\.preset: received resnet_50_imagnet.*`resnet_50_imagenet`"):
        load(preset="resnet_50_imagnet")


def test_too_small_pictures_are_refused(load: Load) -> None:
    """An architecture's smallest size is known before anything is built."""
    with pytest.raises(SpecError, match=r"imageSize: received 64 x 80 pixels for InceptionV3, expected at least 75"):
        load((64, 80), name="InceptionV3", weights="none")


def test_random_weights_follow_from_the_seed(load: Load, small_file: Path) -> None:
    """The same seed gives the same digest, another seed another; also for a file whose weights are drawn anew."""
    for backbone in ({"name": "MobileNet"}, {"path": str(small_file)}):
        first, again, other = (load(None, seed=seed, weights="none", **backbone).digest for seed in (1, 1, 2))
        assert first == again != other


def test_the_digest_is_the_same_in_another_process(load: Load, small_file: Path) -> None:
    """Names that Keras counts up do not enter it."""
    code = (
        "import sys, pathlib\n"
        "from graftwork.progress import SilentReporter\n"
        "from graftwork.spec.fine_tune_job import Backbone\n"
        "from graftwork_jobs.model.backbone import load_backbone\n"
        "folder = pathlib.Path('.')\n"
        "print(load_backbone(Backbone(path=sys.argv[1]), image_size=None, base_dir=folder, weights_dir=folder,"
        " reporter=SilentReporter()).digest)"
    )
    result = subprocess.run([sys.executable, "-c", code, str(small_file)], capture_output=True, text=True, check=True)
    load(None, path=str(small_file))
    assert result.stdout.split()[-1] == load(None, path=str(small_file)).digest


def test_a_file_ends_at_its_last_feature_map(load: Load, small_file: Path) -> None:
    """The classifier and the pooling go, everything before stays as it is."""
    original = keras.models.load_model(small_file)
    expected = keras.Model(original.inputs[0], original.get_layer("block2_drop").output)(_pixels(16))
    loaded = load(None, path=str(small_file))
    np.testing.assert_array_equal(loaded.model(_pixels(16)), expected)
    assert loaded.image_size == (16, 16)


def test_the_example_backbone_gives_the_features_of_its_pooling_layer(load: Load) -> None:
    """EfficientNet-Lite0: our feature map, averaged, is the file's own `pool` layer."""
    original = keras.models.load_model(LITE0)
    expected = keras.Model(original.inputs[0], original.get_layer("pool").output)(_pixels(224))
    features = load(None, path=str(LITE0)).model(_pixels(224)).numpy()
    np.testing.assert_allclose(features.mean(axis=(1, 2)), expected, rtol=1e-5, atol=1e-5)


def test_another_size_keeps_the_weights(load: Load) -> None:
    """Rebuilt for 64 pixels, the network has the weights of the file and a smaller map."""
    small, own = load((64, 64), path=str(LITE0)), load(None, path=str(LITE0))
    assert small.model.output_shape == (None, 2, 2, 1280)
    assert small.digest == own.digest


def test_the_output_layer_can_be_chosen(load: Load, small_file: Path) -> None:
    """`outputLayer` cuts where it says."""
    loaded = load(None, path=str(small_file), output_layer="block1_relu")
    assert loaded.model.output_shape == (None, 16, 16, 4)
    assert load(name="MobileNetV2", weights="none", output_layer="block_6_expand_relu").model.output_shape[1] == 4


@pytest.mark.parametrize("tokens", [16, 17])
def test_tokens_and_vectors_become_maps(load: Load, tmp_path: Path, tokens: int) -> None:
    """A transformer of one's own, and the dense layers of a plain network: pooled over, they are what they were."""
    given = keras.Input((16, 16, 3))
    patches = keras.layers.Conv2D(6, 4, strides=4)(given)
    sequence = keras.layers.Reshape((16, 6))(patches)
    if tokens > 16:
        sequence = keras.layers.ZeroPadding1D((1, 0))(sequence)
    sequence = keras.layers.LayerNormalization(name="final_norm")(sequence)
    vector = keras.layers.Dense(5, activation="relu", name="hidden")(keras.layers.Flatten()(sequence))
    whole = keras.Model(given, keras.layers.Dense(3)(vector))
    whole.save(tmp_path / "vit.keras")
    for layer, axes in (("final_norm", (1,)), ("hidden", ())):
        loaded = load(None, path="vit.keras", output_layer=layer)
        expected = np.mean(keras.Model(given, whole.get_layer(layer).output)(_pixels(16)), axis=axes)
        found = np.asarray(loaded.model(_pixels(16)))
        assert found.ndim == 4
        np.testing.assert_allclose(found.mean(axis=(1, 2)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("layer", "expected"), [("blok1_relu", "`block1_relu`"), ("frames", "feature map")])
def test_an_impossible_output_layer_is_refused(load: Load, tmp_path: Path, layer: str, expected: str) -> None:
    """Unknown layers list near names; layers that no head can grow on say so."""
    given = keras.Input((32, 32, 3))
    inner = keras.layers.ReLU(name="block1_relu")(keras.layers.Conv2D(4, 3, padding="same")(given))
    frames = keras.layers.Reshape((2, 16, 32, 4), name="frames")(inner)
    keras.Model(given, keras.layers.Dense(3)(keras.layers.Flatten()(frames))).save(tmp_path / "odd.keras")
    with pytest.raises(SpecError, match=rf"spec\.backbone\.outputLayer: received {layer}.*{expected}"):
        load(None, path="odd.keras", output_layer=layer)


def test_a_model_nested_in_a_model_is_opened(load: Load, tmp_path: Path) -> None:
    """A file saved from transfer learning, its backbone one layer of it, ends at the inner feature map."""
    inner = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg")
    image = keras.Input((32, 32, 3))
    outer = keras.Model(image, keras.layers.Dense(3)(inner(keras.layers.Rescaling(1 / 127.5, -1)(image))))
    outer.save(tmp_path / "nested.keras")
    loaded = load(None, path="nested.keras")
    map_model = keras.Model(inner.inputs[0], inner.get_layer("out_relu").output)
    np.testing.assert_allclose(loaded.model(_pixels()), map_model(_pixels() / 127.5 - 1), rtol=1e-4, atol=1e-5)
    assert "block_1_expand" in {layer.name for layer in loaded.model.layers}


def test_a_sequential_file_with_flatten_works(load: Load, tmp_path: Path) -> None:
    """Without global pooling the map before `Flatten` is taken."""
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Conv2D(4, 3, name="conv"),
            keras.layers.MaxPooling2D(14),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    model.save(tmp_path / "flat.keras")
    assert load(None, path="flat.keras").model.output_shape == (None, 1, 1, 4)


def test_a_file_with_a_lambda_is_refused(load: Load, tmp_path: Path) -> None:
    """Code in a file is not executed."""
    keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Lambda(lambda x: x * 2)]).save(tmp_path / "code.keras")
    with pytest.raises(SpecError, match=r"code\.keras with Lambda.*not executed"):
        load(None, path="code.keras")


def test_a_file_with_a_custom_layer_is_refused(load: Load, tmp_path: Path) -> None:
    """Classes that do not ship with Keras are named, even if this process knows them."""

    @keras.saving.register_keras_serializable("elsewhere")
    class Doubled(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs * 2

    keras.Sequential([keras.Input((8, 8, 3)), Doubled()]).save(tmp_path / "custom.keras")
    with pytest.raises(SpecError, match=r"custom\.keras with elsewhere>Doubled"):
        load(None, path="custom.keras")


def test_a_file_that_names_a_python_module_is_refused(load: Load, tmp_path: Path, small_file: Path) -> None:
    """A config that points at a module to import is caught before Keras sees it."""
    with zipfile.ZipFile(small_file) as source, zipfile.ZipFile(tmp_path / "evil.keras", "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                config = json.loads(content)
                config["config"]["layers"][1]["module"] = "subprocess"
                config["config"]["layers"][1]["class_name"] = "Popen"
                content = json.dumps(config).encode()
            target.writestr(name, content)
    with pytest.raises(SpecError, match=r"evil\.keras with Popen"):
        load(None, path="evil.keras")


@pytest.mark.parametrize("keep", [0, 100, 5000])
def test_a_damaged_file_is_refused(load: Load, small_file: Path, tmp_path: Path, keep: int) -> None:
    """Empty and truncated files are named."""
    (tmp_path / "cut.keras").write_bytes(small_file.read_bytes()[:keep])
    with pytest.raises(SpecError, match=r"spec\.backbone\.path: received .*cut\.keras"):
        load(None, path="cut.keras")


def test_a_missing_file_is_named_with_where_it_was_looked_for(load: Load, tmp_path: Path) -> None:
    """Relative paths start at the spec's folder, and the error says so."""
    with pytest.raises(SpecError) as caught:
        load(None, path="models/none.keras")
    assert str(tmp_path / "models" / "none.keras") in str(caught.value)


def test_a_network_for_other_inputs_is_refused(load: Load, tmp_path: Path) -> None:
    """A table model is no backbone."""
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(tmp_path / "table.keras")
    with pytest.raises(SpecError, match=r"table\.keras with any x 4, expected one input of shape"):
        load(None, path="table.keras")


def test_a_chosen_preprocessing_goes_in_front(load: Load, small_file: Path) -> None:
    """`preprocessing: minus-one-to-one` scales before the file's first layer."""
    plain = load(None, path=str(small_file))
    scaled = load(None, path=str(small_file), preprocessing="minus-one-to-one")
    np.testing.assert_allclose(scaled.model(_pixels(16)), plain.model(_pixels(16) / 127.5 - 1), rtol=1e-4, atol=1e-5)
    assert scaled.preprocessing == "minus-one-to-one"


def test_loading_leaves_the_random_state_alone(load: Load) -> None:
    """Python's generator goes on as if nothing had been built."""
    before = random.getstate()
    load(name="MobileNet", weights="none")
    assert random.getstate() == before
