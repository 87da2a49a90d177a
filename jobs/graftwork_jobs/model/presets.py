"""Backbones from KerasHub: presets by name and preset directories, turned into networks of stock Keras layers."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_hub

from graftwork.errors import Problem, SpecError
from graftwork.near_names import did_you_mean, near_names
from graftwork_jobs.model.error_text import first_line
from graftwork_jobs.model.rebuild import UnfoldError, inline
from graftwork_jobs.model.saved_model import check_image_input, foreign_classes
from graftwork_jobs.model.scaling import Factors, Scaling

_CONFIG_FILE = "config.json"
_MAP_RANK = 4


@dataclass(frozen=True, kw_only=True)
class LoadedPreset:
    """What a preset says of a backbone.

    Attributes:
        model: scaled pictures of any size to a feature map; flat, stock layers only.
        scaling: of its image converter; identity if not asked for.
        image_size: height and width in pixels it was trained at; None if it does not say.
    """

    model: keras.Model
    scaling: Scaling
    image_size: tuple[int, int] | None


def image_presets() -> Mapping[str, str]:
    """Registered presets of image backbones, each with the place it is downloaded from."""
    return {
        name: str(preset.get("kaggle_handle") or preset.get("hf_handle") or "")
        for backbone in _image_backbones()
        for name, preset in backbone.presets.items()
    }


def find_preset(name: str, weights_dir: Path) -> str:
    """What to hand to KerasHub for a preset's name: a folder of the cache if it is there, else the name.

    Raises:
        SpecError: no such preset; names near ones.
    """
    presets = image_presets()
    if name not in presets:
        raise SpecError(
            Problem(
                where="spec.backbone.preset",
                received=name,
                expected=f"one of KerasHub's {len(presets)} image presets (a preset folder is a `path`)",
                fix=did_you_mean(name, presets) or f"Some of them: {', '.join(sorted(presets)[:: len(presets) // 8])}.",
            )
        )
    prepared = prepared_preset(name, weights_dir)
    return str(prepared) if (prepared / _CONFIG_FILE).exists() else name


def load_preset(preset: str, *, weights_dir: Path, where: str, wants_scaling: bool) -> LoadedPreset:
    """Load a preset.

    Args:
        preset: registered name or folder.
        weights_dir: the cache of downloads, for the error.
        where: YAML path of what names it, for errors.
        wants_scaling: whether to read the scaling of the preset's image converter.

    Raises:
        SpecError: cannot be downloaded (says what to put where), is damaged, takes no picture, gives no feature map,
            or has layers that cannot do without KerasHub.
    """
    refuse_foreign(Path(preset), where)
    backbone = _backbone(preset, weights_dir, where)
    check_image_input(backbone, preset)
    converter = _converter(preset, where) if wants_scaling else None
    size = converter.image_size if converter is not None else None
    return LoadedPreset(
        model=_unfolded(backbone, preset, where),
        scaling=Scaling(name="none") if converter is None else _scaling(converter),
        image_size=None if size is None else (int(size[0]), int(size[1])),
    )


def _image_backbones() -> Iterator[type[Any]]:
    for _, candidate in sorted(vars(keras_hub.models).items()):
        if not (inspect.isclass(candidate) and issubclass(candidate, keras_hub.models.Backbone)):
            continue
        if _is_image_backbone(candidate):
            yield candidate


def _is_image_backbone(candidate: type[Any]) -> bool:
    """Whether KerasHub has an image classifier on it."""
    tasks: list[Any] = [task for task in vars(keras_hub.models).values() if inspect.isclass(task)]
    return any(issubclass(task, keras_hub.models.ImageClassifier) and task.backbone_cls is candidate for task in tasks)


def prepared_preset(name: str, weights_dir: Path) -> Path:
    """Where a user can put a preset's folder in advance."""
    return weights_dir / "presets" / name


def refuse_foreign(folder: Path, where: str, name: str = _CONFIG_FILE) -> None:
    """Refuse a preset folder whose file names classes that do not ship with Keras or KerasHub.

    Raises:
        SpecError: it does, or is no JSON.
    """
    if not folder.is_dir():
        return
    try:
        foreign = foreign_classes(json.loads((folder / name).read_text()))
    except (OSError, ValueError) as error:
        raise SpecError(
            Problem(
                where=where,
                received=f"{folder} ({first_line(error)})",
                expected="a KerasHub preset folder with config.json and model.weights.h5, or a .keras file",
                fix="Make one with keras_hub's save_to_preset().",
            )
        ) from error
    if foreign:
        raise SpecError(
            Problem(
                where=where,
                received=f"{folder} with {', '.join(foreign)}",
                expected="a backbone that ships with KerasHub; code of a preset is not executed",
                fix="Use a preset of a stock KerasHub backbone.",
            )
        )


def _backbone(preset: str, weights_dir: Path, where: str) -> keras.Model:
    try:
        return keras_hub.models.Backbone.from_preset(preset)
    except Exception as error:
        if Path(preset).is_dir():
            raise SpecError(
                Problem(
                    where=where,
                    received=f"{preset} ({first_line(error)})",
                    expected="a whole KerasHub preset folder",
                    fix="Make it again with keras_hub's save_to_preset().",
                )
            ) from error
        folder = prepared_preset(preset, weights_dir)
        raise SpecError(
            Problem(
                where=where,
                received=f"{preset}, but {image_presets()[preset]} cannot be downloaded ({first_line(error)})",
                expected=f"the preset's folder at {folder}",
                fix="Where there is a network, run "
                f"keras_hub.models.ImageClassifier.from_preset({preset!r}).save_to_preset(FOLDER), "
                f"and put that folder there as {folder}.",
            )
        ) from error


def _converter(preset: str, where: str) -> Any:
    try:
        return keras_hub.layers.ImageConverter.from_preset(preset)
    except Exception as error:
        raise SpecError(
            Problem(
                where=where,
                received=f"{preset}, which does not say how pixels are scaled ({first_line(error)})",
                expected="a preset with an image converter, or backbone.preprocessing",
                fix="Set preprocessing to what the backbone was trained with.",
            )
        ) from error


def _scaling(converter: Any) -> Scaling:
    return Scaling(name="preset", factor=_factors(converter.scale, 1.0), offset=_factors(converter.offset, 0.0))


def _factors(values: Any, default: float) -> Factors:
    match values:
        case None:
            return default
        case int() | float():
            return float(values)
        case _:
            return tuple(float(value) for value in values)


def _unfolded(backbone: keras.Model, preset: str, where: str) -> keras.Model:
    output = backbone.output
    shape = getattr(output, "shape", None)
    if shape is None or len(shape) != _MAP_RANK:
        raise SpecError(
            Problem(
                where=where,
                received=f"{preset}, a {type(backbone).__name__}, which gives no feature map",
                expected="a convolutional backbone, whose output is (batch, height, width, channels)",
                fix="Use another preset, such as " + ", ".join(near_names("resnet_50_imagenet", image_presets())) + ".",
            )
        )
    try:
        return inline(keras.Model(backbone.inputs[0], output, name=backbone.name), unfold=_is_of_keras_hub)
    except UnfoldError as error:
        raise SpecError(
            Problem(
                where=where,
                received=f"{preset}, a {type(backbone).__name__}, whose layer {error}",
                expected="a backbone that can be written with stock Keras layers: bundles load without KerasHub",
                fix="Use another preset, such as " + ", ".join(near_names("resnet_50_imagenet", image_presets())) + ".",
            )
        ) from error


def _is_of_keras_hub(layer: Any) -> bool:
    return type(layer).__module__.partition(".")[0] == "keras_hub"
