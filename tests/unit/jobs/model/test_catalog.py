from __future__ import annotations

import inspect
from typing import Any, NoReturn

import keras
import numpy as np
import pytest
from keras.src.utils import file_utils

from graftwork_jobs.model.catalog import ARCHITECTURES, Architecture
from graftwork_jobs.model.scaling import named_scaling, scale

# Keras warns where MobileNets have no weights of their own for a size.
pytestmark = pytest.mark.filterwarnings("ignore:`input_shape` is undefined or non-square:UserWarning")

_ALL = list(ARCHITECTURES.values())
_SMALL = ["MobileNet", "MobileNetV2", "VGG16", "ResNet50", "EfficientNetB0", "ConvNeXtTiny", "MobileNetV3Small"]


def test_the_registry_holds_what_keras_offers() -> None:
    """Every public architecture of keras.applications is there, and nothing else."""
    offered = {name for name, value in vars(keras.applications).items() if inspect.isfunction(value)}
    assert set(ARCHITECTURES) == offered


@pytest.mark.parametrize("architecture", _ALL, ids=lambda architecture: architecture.name)
def test_the_scaling_is_what_the_architecture_was_trained_with(architecture: Architecture) -> None:
    """Our layers compute what the family's own preprocess_input does to RGB 0..255."""
    pixels = np.random.default_rng(3).integers(0, 256, (2, 5, 4, 3)).astype(np.float32)
    expected = getattr(keras.applications, architecture.family).preprocess_input(pixels.copy())
    image = keras.Input(pixels.shape[1:])
    scaled = keras.Model(image, scale(image, named_scaling(architecture.preprocessing)) * 1.0)(pixels)
    np.testing.assert_allclose(scaled, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", _ALL, ids=lambda architecture: architecture.name)
def test_own_scaling_can_be_turned_off_where_the_catalog_says_so(architecture: Architecture) -> None:
    """`has_own_scaling` is true exactly where Keras takes `include_preprocessing`."""
    parameters = inspect.signature(getattr(keras.applications, architecture.name)).parameters
    assert architecture.has_own_scaling == ("include_preprocessing" in parameters)


class _AskedError(Exception):
    """Keras has asked for a file."""


def _asked_for(name: str, monkeypatch: pytest.MonkeyPatch, side: int | None = None) -> dict[str, Any]:
    asked: dict[str, Any] = {}

    def get_file(fname: str, origin: str, file_hash: str | None = None, **_: Any) -> NoReturn:
        asked.update(name=fname, url=origin, hash=file_hash)
        raise _AskedError

    monkeypatch.setattr(file_utils, "get_file", get_file)
    shape = None if side is None else (side, side, 3)
    with pytest.raises(_AskedError):
        getattr(keras.applications, name)(include_top=False, weights="imagenet", input_shape=shape)
    return asked


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in _SMALL else pytest.mark.slow) for name in ARCHITECTURES]
)
def test_the_weights_file_is_the_one_keras_asks_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name, URL and hash are those with which Keras itself would download."""
    architecture = ARCHITECTURES[name]
    file = architecture.weights_for((architecture.image_size, architecture.image_size))
    assert _asked_for(name, monkeypatch) == {"name": file.name, "url": file.url, "hash": file.hash}


@pytest.mark.parametrize(("name", "side"), [("MobileNet", 128), ("MobileNet", 160), ("MobileNetV2", 96)])
def test_weights_trained_at_the_wanted_size_are_preferred(
    name: str, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MobileNets have weights for several sizes; the catalog picks as Keras does."""
    assert ARCHITECTURES[name].weights_for((side, side)).url == _asked_for(name, monkeypatch, side)["url"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in _SMALL else pytest.mark.slow) for name in ARCHITECTURES]
)
def test_the_smallest_size_is_the_smallest_keras_takes(name: str) -> None:
    """One pixel less is refused by Keras or leaves no feature map; the stated size works."""
    architecture, build = ARCHITECTURES[name], getattr(keras.applications, name)
    side = architecture.min_image_size
    height, width = build(include_top=False, weights=None, input_shape=(side, side, 3)).output_shape[1:3]
    assert min(height, width) >= 1
    with pytest.raises(ValueError, match=r"at least|Negative dimension|negative|must be"):
        build(include_top=False, weights=None, input_shape=(side - 1, side - 1, 3))
