"""Backbones from `.keras` files: safe loading, another input size.

A `.keras` file is a user's: nothing in it is executed. Only layers that ship with Keras and KerasHub are accepted.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from graftwork.errors import Problem, SpecError
from graftwork_jobs.model.cut import shape_text
from graftwork_jobs.model.error_text import first_line
from graftwork_jobs.model.rebuild import inline, rebuild

_PACKAGES = ("keras", "keras_hub")
_MAP_RANK = 4
_CHANNELS = 3


def load_saved_model(path: Path) -> keras.Model:
    """Load a `.keras` file that takes pictures.

    Returns:
        The whole network, flat.

    Raises:
        SpecError: the file is damaged, holds code or custom layers, or takes no picture.
    """
    model = _load(path)
    check_image_input(model, str(path))
    return inline(model)


def fit_to_size(
    model: keras.Model, image_size: tuple[int, int] | None, *, shown: str, random_weights: bool = False
) -> keras.Model:
    """Make a network afresh for a picture size.

    Args:
        model: flat and functional, takes pictures.
        image_size: height and width in pixels; None keeps the network's own.
        shown: what to call it in an error.
        random_weights: draw new weights; scaling statistics are kept.

    Raises:
        SpecError: no size known, or one the network cannot take.
    """
    height, width = image_size or tuple(model.inputs[0].shape[1:3])
    if height is None or width is None:
        raise SpecError(
            Problem(
                where="spec.input.imageSize",
                received=f"nothing, and {shown} takes any size",
                expected="height and width in pixels",
                fix="Give imageSize, best the size the network was trained at.",
            )
        )
    try:
        return rebuild(model, input_shape=(height, width, 3), random_weights=random_weights)
    except ValueError as error:
        raise SpecError(
            Problem(
                where="spec.input.imageSize",
                received=f"{height} x {width} pixels for {shown} ({first_line(error)})",
                expected=f"a size the network can take; its own is {shape_text(model.inputs[0].shape[1:3])}",
                fix="Leave imageSize out, or choose a larger one.",
            )
        ) from error


def check_image_input(model: keras.Model, shown: str) -> None:
    """Refuse models that do not take one batch of RGB pictures, channels last.

    Raises:
        SpecError: another number or shape of inputs.
    """
    inputs = list(getattr(model, "inputs", None) or [])
    if len(inputs) == 1 and len(inputs[0].shape) == _MAP_RANK and inputs[0].shape[-1] == _CHANNELS:
        return
    received = " and ".join(shape_text(tensor.shape) for tensor in inputs) or "no fixed input"
    raise SpecError(
        Problem(
            where="spec.backbone",
            received=f"{shown} with {received}",
            expected="one input of shape (batch, height, width, 3)",
            fix="Use a functional or sequential model that takes RGB pictures, channels last.",
        )
    )


def foreign_classes(config: Any) -> list[str]:
    """Names of serialised classes and functions that do not ship with Keras or KerasHub, and of Lambda layers.

    Args:
        config: the parsed `config.json` of a `.keras` file.
    """
    return sorted(set(_foreign(config)))


def _foreign(node: Any) -> Iterator[str]:
    match node:
        case dict():
            name = node.get("class_name")
            if isinstance(name, str) and "config" in node:
                module = node.get("module")
                known = isinstance(module, str) and module.split(".")[0] in _PACKAGES
                known = known or (module in {None, "builtins"} and not node.get("registered_name"))
                if name in {"Lambda", "__lambda__"}:
                    yield name
                elif not known and name not in _DATA_CLASSES:
                    yield f"{node.get('registered_name') or name}"
            for value in node.values():
                yield from _foreign(value)
        case list():
            for value in node:
                yield from _foreign(value)
        case _:
            return


# What Keras writes for tensors, tuples, data types and the like inside a layer's config.
_DATA_CLASSES = frozenset(
    {
        "__keras_tensor__",
        "__tensor__",
        "__numpy__",
        "__bytes__",
        "__ellipsis__",
        "__slice__",
        "__tuple__",
        "__typespec__",
    }
)


def _load(path: Path) -> keras.Model:
    try:
        with zipfile.ZipFile(path) as archive:
            foreign = foreign_classes(json.loads(archive.read("config.json")))
    except (zipfile.BadZipFile, KeyError, OSError, ValueError) as error:
        raise (_only_weights(path) if path.suffix in {".h5", ".hdf5"} else _unreadable(path, error)) from error
    if foreign:
        raise SpecError(
            Problem(
                where="spec.backbone.path",
                received=f"{path} with {', '.join(foreign)}",
                expected="layers that ship with Keras or KerasHub; code in a file is not executed",
                fix="Save the network without Lambda layers and without classes or functions of your own.",
            )
        )
    try:
        model = keras.models.load_model(str(path), compile=False, safe_mode=True)
    except Exception as error:
        raise _unreadable(path, error) from error
    if not isinstance(model, keras.Model):
        raise _unreadable(path, TypeError(f"holds a {type(model).__name__}, not a model"))
    return model


def _only_weights(path: Path) -> SpecError:
    """Files of HDF5 hold weights without the network, or a whole model as Keras 2 wrote it."""
    return SpecError(
        Problem(
            where="spec.backbone.path",
            received=f"{path}, a file of HDF5",
            expected="a model saved by Keras 3 with model.save('name.keras')",
            fix="If it holds weights (.weights.h5), name the network with backbone.name, or a .keras file in "
            "backbone.path, and this file in backbone.weights. A model of Keras 2 has to be saved again as .keras.",
        )
    )


def _unreadable(path: Path, error: BaseException) -> SpecError:
    return SpecError(
        Problem(
            where="spec.backbone.path",
            received=f"{path} ({first_line(error)})",
            expected="a model saved by Keras 3 with model.save('name.keras')",
            fix="Save it again with Keras 3, or check that the file is whole.",
        )
    )
