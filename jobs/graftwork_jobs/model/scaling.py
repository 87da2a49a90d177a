"""From RGB 0..255 to what a backbone was trained on, as stock Keras layers, so that every bundle carries it inside."""

from __future__ import annotations

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


def scale(image: KerasTensor, preprocessing: Preprocessing) -> KerasTensor:
    """Put the scaling on top of an input.

    Computes in float32 under any dtype policy: bfloat16 would lose pixel values.

    Args:
        image: RGB 0..255, shape (batch, height, width, 3), float32.
        preprocessing: which scaling.
    """
    match preprocessing:
        case "none":
            return image
        case "zero-to-one":
            return _rescale(1 / 255)(image)
        case "minus-one-to-one":
            return _rescale(1 / 127.5, -1.0)(image)
        case "imagenet":
            return _rescale(
                [1 / (255 * deviation) for deviation in _IMAGENET_DEVIATION],
                [-mean / deviation for mean, deviation in zip(_IMAGENET_MEAN, _IMAGENET_DEVIATION, strict=True)],
            )(image)
        case "caffe":
            return _rescale(1.0, [-mean for mean in _CAFFE_MEAN_BGR])(keras.ops.flip(image, axis=-1))


def _rescale(factor: float | list[float], offset: float | list[float] = 0.0) -> keras.layers.Rescaling:
    return keras.layers.Rescaling(factor, offset, dtype="float32", name="scaling")
