from __future__ import annotations

import dataclasses
import hashlib
from functools import partial
from pathlib import Path

import h5py
import httpx
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format
from keras.src.utils import file_utils

from graftwork.errors import SpecError
from graftwork.progress import SilentReporter
from graftwork_jobs.model import catalog
from graftwork_jobs.model.catalog import ARCHITECTURES
from graftwork_jobs.model.weights import imagenet_weights

from .conftest import Load

# Keras publishes MD5 sums.
md5 = partial(hashlib.md5, usedforsecurity=False)


def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise httpx.ConnectError("no route to host")

    monkeypatch.setattr(httpx, "stream", refuse)


def _old_format(model: keras.Model, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


def test_offline_the_error_says_which_file_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Path, URL and hash are all in the text."""
    _no_network(monkeypatch)
    with pytest.raises(SpecError) as caught:
        imagenet_weights(ARCHITECTURES["ResNet50"], (64, 64), weights_dir=tmp_path, reporter=SilentReporter())
    file = ARCHITECTURES["ResNet50"].weights_for((64, 64))
    for expected in (str(tmp_path / file.name), file.url, f"md5 {file.hash}", "spec.backbone.weights"):
        assert expected in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_file_put_there_in_advance_is_used(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the file in the folder, `weights: imagenet` needs no network and gives the file's weights."""
    _no_network(monkeypatch)
    keras.utils.set_random_seed(8)
    original = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3))
    _old_format(original, tmp_path / "weights" / ARCHITECTURES["MobileNetV2"].weights_for((32, 32)).name)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    loaded = load(name="MobileNetV2", weights="imagenet")
    expected = original(keras.applications.mobilenet_v2.preprocess_input(pixels.copy()))
    np.testing.assert_allclose(loaded.model(pixels), expected, rtol=1e-4, atol=1e-5)
    assert loaded.weights == "imagenet"


def test_a_file_with_the_wrong_content_is_refused(tmp_path: Path) -> None:
    """A known hash is compared, so that a half copied file is named and not trained on."""
    file = ARCHITECTURES["VGG16"].weights_for((64, 64))
    (tmp_path / file.name).write_bytes(b"half a download")
    with pytest.raises(SpecError, match=md5(b"half a download").hexdigest()):
        imagenet_weights(ARCHITECTURES["VGG16"], (64, 64), weights_dir=tmp_path, reporter=SilentReporter())


@pytest.mark.parametrize("status", [200, 404])
def test_a_download_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """What arrives with the right hash is kept under its name; after an error nothing is left."""
    content = b"weights" * 1000
    known = dataclasses.replace(ARCHITECTURES["VGG16"].weights_for((64, 64)), hash=md5(content).hexdigest())
    architecture = dataclasses.replace(ARCHITECTURES["VGG16"], weights={224: known})
    transport = httpx.MockTransport(lambda request: httpx.Response(status, content=content, request=request))
    client = httpx.Client(transport=transport)
    monkeypatch.setattr(httpx, "stream", client.stream)
    if status == 200:
        path = imagenet_weights(architecture, (64, 64), weights_dir=tmp_path, reporter=SilentReporter())
        assert path.read_bytes() == content
    else:
        with pytest.raises(SpecError, match="404"):
            imagenet_weights(architecture, (64, 64), weights_dir=tmp_path, reporter=SilentReporter())
    assert [path.name for path in tmp_path.iterdir()] == ([known.name] if status == 200 else [])


def test_efficientnet_scales_as_its_imagenet_weights_need(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras adds a division by the deviation when it loads ImageNet weights itself; our network computes the same."""
    original = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
    normalization = next(layer for layer in original.layers if isinstance(layer, keras.layers.Normalization))
    normalization.adapt_mean.assign([0.485, 0.456, 0.406])
    normalization.adapt_variance.assign([0.229, 0.224, 0.225])
    file = ARCHITECTURES["EfficientNetB0"].weights_for((32, 32))
    path = tmp_path / "weights" / file.name
    _old_format(original, path)
    known = dataclasses.replace(file, hash=md5(path.read_bytes()).hexdigest())
    architecture = dataclasses.replace(ARCHITECTURES["EfficientNetB0"], weights={224: known})
    monkeypatch.setattr(catalog, "ARCHITECTURES", {"EfficientNetB0": architecture})
    monkeypatch.setattr("graftwork_jobs.model.applications.ARCHITECTURES", {"EfficientNetB0": architecture})
    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(path))
    expected = keras.applications.EfficientNetB0(include_top=False, weights="imagenet", input_shape=(32, 32, 3))
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    ours = np.asarray(load(name="EfficientNetB0", weights="imagenet").model(pixels))
    np.testing.assert_allclose(ours, expected(pixels), rtol=1e-3, atol=1e-5)
    assert not np.allclose(ours, original(pixels), rtol=1e-2)


def test_a_weights_file_may_be_a_path_or_a_uri(load: Load, tmp_path: Path) -> None:
    """A `.weights.h5` file gives its weights, locally and through fsspec."""
    import fsspec

    keras.utils.set_random_seed(2)
    original = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(32, 32, 3))
    original.save_weights(tmp_path / "mine.weights.h5")
    with fsspec.open("memory://bucket/mine.weights.h5", "wb") as stream:
        stream.write((tmp_path / "mine.weights.h5").read_bytes())
    local = load(name="MobileNet", weights="mine.weights.h5")
    remote = load(name="MobileNet", weights="memory://bucket/mine.weights.h5")
    assert local.digest == remote.digest != load(name="MobileNet", weights="none").digest
    for ours, theirs in zip(local.model.weights, original.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("content", [b"", b"no weights", None])
def test_a_weights_file_that_does_not_fit_is_refused(load: Load, tmp_path: Path, content: bytes | None) -> None:
    """Empty, damaged and foreign files name the file and what is expected."""
    path = tmp_path / "other.weights.h5"
    if content is None:
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save_weights(path)
    else:
        path.write_bytes(content)
    with pytest.raises(SpecError, match=r"spec\.backbone\.weights.*other\.weights\.h5.*weights of MobileNet"):
        load(name="MobileNet", weights=str(path))
