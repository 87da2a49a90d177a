from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest

from graftwork.errors import SpecError

from .conftest import Load

_SCALE, _OFFSET = [1 / 50, 1 / 60, 1 / 70], [-1.0, -2.0, -3.0]


def _resnet() -> keras.Model:
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(None, None, 3),
    )


def _efficientnet() -> keras.Model:
    stages = 2
    return keras_hub.models.EfficientNetBackbone(
        stackwise_width_coefficients=[1.0] * stages,
        stackwise_depth_coefficients=[1.0] * stages,
        stackwise_kernel_sizes=[3, 3],
        stackwise_num_repeats=[1, 2],
        stackwise_input_filters=[8, 8],
        stackwise_output_filters=[8, 12],
        stackwise_expansion_ratios=[1, 4],
        stackwise_strides=[1, 2],
        stackwise_squeeze_and_excite_ratios=[0.25, 0.25],
        stackwise_block_types=["v1", "unfused"],
        stackwise_force_input_filters=[0, 0],
        stackwise_nores_option=[False, False],
        min_depth=8,
        include_stem_padding=True,
        use_depth_divisor_as_min_depth=False,
        cap_round_filter_decrease=False,
        stem_conv_padding="same",
        batch_norm_momentum=0.9,
        batch_norm_epsilon=1e-3,
        dropout=0.2,
        projection_activation=None,
        image_shape=(None, None, 3),
        input_shape=(None, None, 3),
    )


def _save(backbone: keras.Model, folder: Path, *, converter: bool = True) -> Path:
    backbone.save_to_preset(str(folder))
    if converter:
        keras_hub.layers.ImageConverter(image_size=(48, 40), scale=_SCALE, offset=_OFFSET).save_to_preset(str(folder))
    return folder


@pytest.mark.parametrize("make", [_resnet, _efficientnet])
def test_a_preset_folder_computes_what_kerashub_computes(
    load: Load, tmp_path: Path, make: Callable[[], keras.Model]
) -> None:
    """Scaling of its image converter in front, same feature map, stock layers only, its own size."""
    backbone = make()
    loaded = load(None, path=str(_save(backbone, tmp_path / "preset")))
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 48, 40, 3)).astype(np.float32)
    expected = backbone(pixels * np.array(_SCALE, np.float32) + np.array(_OFFSET, np.float32))
    np.testing.assert_allclose(loaded.model(pixels), expected, rtol=1e-4, atol=1e-5)
    assert loaded.image_size == (48, 40)
    assert all(type(layer).__module__.startswith("keras.") for layer in loaded.model.layers)


def test_a_preset_put_into_the_cache_in_advance_needs_no_network(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`weights/presets/<name>` is looked at first."""
    _save(_resnet(), tmp_path / "weights" / "presets" / "resnet_18_imagenet")
    loaded = load((32, 32), preset="resnet_18_imagenet")
    assert loaded.source == "resnet_18_imagenet"
    assert loaded.model.output_shape[-1] == 64


def test_offline_the_error_says_what_to_put_where(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folder, source and the call that makes it are in the text."""

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", refuse)
    with pytest.raises(SpecError) as caught:
        load(preset="resnet_18_imagenet")
    for expected in (str(tmp_path / "weights" / "presets" / "resnet_18_imagenet"), "kaggle://", "save_to_preset"):
        assert expected in str(caught.value)


def test_a_preset_without_scaling_asks_for_it(load: Load, tmp_path: Path) -> None:
    """Guessing how pixels are scaled would be a silent error; a stated preprocessing is enough."""
    folder = _save(_resnet(), tmp_path / "preset", converter=False)
    with pytest.raises(SpecError, match="does not say how pixels are scaled"):
        load(path=str(folder))
    assert load(path=str(folder), preprocessing="zero-to-one").preprocessing == "zero-to-one"


def test_a_backbone_without_feature_map_is_refused(load: Load, tmp_path: Path) -> None:
    """A vision transformer gives tokens."""
    backbone = keras_hub.models.ViTBackbone(
        image_shape=(32, 32, 3), patch_size=(16, 16), num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=8
    )
    with pytest.raises(SpecError, match="ViTBackbone, which gives no feature map"):
        load((32, 32), path=str(_save(backbone, tmp_path / "preset")))


def test_a_damaged_preset_is_refused(load: Load, tmp_path: Path) -> None:
    """A folder without weights names itself."""
    folder = _save(_resnet(), tmp_path / "preset")
    (folder / "model.weights.h5").unlink()
    with pytest.raises(SpecError, match=r"spec\.backbone\.path: received .*preset"):
        load(path=str(folder))


def test_a_preset_folder_may_lie_behind_a_uri(load: Load, tmp_path: Path) -> None:
    """The folder is copied into the cache once."""
    import fsspec

    folder = _save(_resnet(), tmp_path / "preset")
    fsspec.filesystem("memory").put(str(folder), "memory://bucket/preset", recursive=True)
    digest = load(path="memory://bucket/preset").digest
    shutil.rmtree(folder)
    assert load(path="memory://bucket/preset").digest == digest
