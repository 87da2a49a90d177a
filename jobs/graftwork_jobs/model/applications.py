"""Builds `keras.applications` backbones from the catalog."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from graftwork.errors import Problem, SpecError
from graftwork.near_names import did_you_mean
from graftwork_jobs.model.catalog import ARCHITECTURES, Architecture, Preprocessing
from graftwork_jobs.model.error_text import first_line
from graftwork_jobs.model.rebuild import finalize, leaf_layers

# Mean and deviation of ImageNet's training pictures, RGB, 0..1. Source: keras/src/applications/efficientnet.py.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def find_architecture(name: str) -> Architecture:
    """Look a name up in the catalog.

    Raises:
        SpecError: unknown; names near ones.
    """
    architecture = ARCHITECTURES.get(name)
    if architecture is None:
        raise SpecError(
            Problem(
                where="spec.backbone.name",
                received=name,
                expected="a keras.applications architecture",
                fix=did_you_mean(name, ARCHITECTURES) or f"Use one of {', '.join(ARCHITECTURES)}.",
            )
        )
    return architecture


def check_image_size(architecture: Architecture, image_size: tuple[int, int]) -> None:
    """Refuse pictures too small for an architecture.

    Raises:
        SpecError: a side is below its smallest.
    """
    if min(image_size) < architecture.min_image_size:
        smallest = architecture.min_image_size
        raise SpecError(
            Problem(
                where="spec.input.imageSize",
                received=f"{image_size[0]} x {image_size[1]} pixels for {architecture.name}",
                expected=f"at least {smallest} x {smallest}",
                fix=f"Use a larger size; the network was trained at {architecture.image_size} pixels.",
            )
        )


def build_application(
    architecture: Architecture,
    *,
    image_size: tuple[int, int],
    weights: Path | None,
    preprocessing: Preprocessing,
) -> keras.Model:
    """An architecture without its classifier.

    Args:
        architecture: from the catalog.
        image_size: height and width in pixels.
        weights: file to load, in Keras' old (`.h5`) or new (`.weights.h5`) format; None leaves them random.
        preprocessing: scaling that will be put in front; anything but `none` turns the network's own off.

    Returns:
        Scaled pictures, shape (batch, height, width, 3), to feature map.

    Raises:
        SpecError: the file does not belong to the architecture.
    """
    factory: Callable[..., keras.Model] = getattr(keras.applications, architecture.name)
    options: dict[str, Any] = {}
    if architecture.has_own_scaling:
        options["include_preprocessing"] = preprocessing == "none"
    model = factory(include_top=False, weights=None, input_shape=(*image_size, 3), **options)
    if weights is not None:
        load_weights(model, weights, architecture.name)
        if architecture.needs_deviation_fix:
            _divide_by_deviation_again(model)
    return model


def load_weights(model: keras.Model, weights: Path, name: str) -> None:
    """Load a file of weights.

    Raises:
        SpecError: it is damaged or belongs to another network.
    """
    try:
        with warnings.catch_warnings():
            # Keras only warns about layers it found nothing for.
            warnings.simplefilter("error", UserWarning)
            with _named_by_content(weights) as path:
                model.load_weights(str(path))
    except (ValueError, OSError, KeyError, TypeError, IndexError, UserWarning) as error:
        raise SpecError(
            Problem(
                where="spec.backbone.weights",
                received=f"{weights} ({first_line(error)})",
                expected=f"weights of {name} without its classifier (include_top=False)",
                fix="Give a file that Keras saved with save_weights() from this very network.",
            )
        ) from error


@contextmanager
def _named_by_content(weights: Path) -> Iterator[Path]:
    """Keras tells its two formats apart by name; copies of remote files and others' files carry any name."""
    with h5py.File(weights, "r") as file:
        is_old = "layer_names" in file.attrs or "model_weights" in file
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / ("old.h5" if is_old else "new.weights.h5")
        link.symlink_to(weights.absolute())
        yield link


def _divide_by_deviation_again(model: keras.Model) -> None:
    """Make EfficientNet's scaling what its ImageNet weights were trained with.

    Keras builds `EfficientNetB*` with one more layer, Rescaling(1 / sqrt(deviation)), if and only if it downloads the
    ImageNet weights itself. Random weights carry no ImageNet statistics and need none. Here the factor goes into the
    statistics: (x - mean) / sqrt(variance) / sqrt(deviation) = (x - mean) / sqrt(variance * deviation).
    """
    for layer in leaf_layers(model):
        if isinstance(layer, keras.layers.Normalization):
            mean, variance, *_ = (weight.numpy() for weight in layer.weights)
            if not np.allclose(mean.reshape(-1), _IMAGENET_MEAN, atol=1e-3):
                return
            layer.adapt_variance.assign(variance * np.asarray(_IMAGENET_DEVIATION, np.float32).reshape(variance.shape))
    finalize(model)
