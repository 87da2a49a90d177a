"""From RGB 0..255 to what a backbone was trained on, as stock Keras layers, so that every bundle carries it inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras

from graftwork_jobs.model.catalog import Preprocessing

if TYPE_CHECKING:
    from keras import KerasTensor

# Mean and deviation of ImageNet's training pictures, RGB, 0..1. Source: torchvision; keras imagenet_utils mode "torch".
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
# Mean of ImageNet's training pictures, BGR, 0..255. Source: Caffe's VGG models; keras imagenet_utils mode "caffe".
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)

Factors = float | tuple[float, ...]
"""One number, or one a channel."""


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Pixels are multiplied by `factor`, then `offset` is added.

    Attributes:
        name: what it is called in plans and manifests.
        factor: one, or one a channel.
        offset: one, or one a channel.
        to_bgr: turn the channels around first.
    """

    name: str
    factor: Factors = 1.0
    offset: Factors = 0.0
    to_bgr: bool = False

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return not self.to_bgr and self.factor == 1.0 and self.offset == 0.0


def named_scaling(preprocessing: Preprocessing) -> Scaling:
    """The scaling of a spec's word for it."""
    match preprocessing:
        case "none":
            return Scaling(name=preprocessing)
        case "zero-to-one":
            return Scaling(name=preprocessing, factor=1 / 255)
        case "minus-one-to-one":
            return Scaling(name=preprocessing, factor=1 / 127.5, offset=-1.0)
        case "imagenet":
            return Scaling(
                name=preprocessing,
                factor=tuple(1 / (255 * deviation) for deviation in _IMAGENET_DEVIATION),
                offset=tuple(-mean / dev for mean, dev in zip(_IMAGENET_MEAN, _IMAGENET_DEVIATION, strict=True)),
            )
        case "caffe":
            return Scaling(name=preprocessing, offset=tuple(-mean for mean in _CAFFE_MEAN_BGR), to_bgr=True)


def scale(image: KerasTensor, scaling: Scaling) -> KerasTensor:
    """Put a scaling on top of an input.

    Computes in float32 under any dtype policy: bfloat16 would lose pixel values.

    Args:
        image: RGB 0..255, shape (batch, height, width, 3), float32.
        scaling: which.
    """
    if scaling.is_identity:
        return image
    if scaling.to_bgr:
        image = keras.ops.flip(image, axis=-1)
    return keras.layers.Rescaling(
        _as_config(scaling.factor), _as_config(scaling.offset), dtype="float32", name="scaling"
    )(image)


def _as_config(factors: Factors) -> float | list[float]:
    """Keras saves lists, not tuples."""
    return list(factors) if isinstance(factors, tuple) else factors
