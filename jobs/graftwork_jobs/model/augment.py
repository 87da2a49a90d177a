"""Random changes to training pictures, drawn per example, so that they do not depend on batches or workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from graftwork.spec.fine_tune_job import Augment

Augmenter = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Picture (height, width, 3), float32, 0..255, and seed (2,), int32, to a picture of the same kind."""

_LARGEST = 255.0


def build_augmenter(entries: Sequence[Augment]) -> Augmenter | None:
    """What applies a spec's augmentations, in their order, to one picture.

    For use inside `tf.data`: the same picture and seed give the same result anywhere, in graph and in eager mode.

    Args:
        entries: from the spec; what mixes pictures is left to `graftwork_jobs.data.mixing`.

    Returns:
        None if there is nothing to do.
    """
    layers = [layer for entry in entries if not entry.mixes for layer in _layers(entry)]
    if not layers:
        return None
    for layer in layers:
        # Its operations are TensorFlow's inside `tf.data`, whatever Keras runs on.
        layer.backend.set_backend("tensorflow")

    def augment(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        shape = image.shape
        changed = tf.cast(image, tf.float32)
        for number, layer in enumerate(layers):
            drawn = layer.get_random_transformation(changed, seed=_ExampleSeeds(_fold_in(seed, number)))
            changed = layer.transform_images(changed, drawn)
        # Interpolation may overshoot by a rounding error.
        return tf.ensure_shape(tf.clip_by_value(changed, 0.0, _LARGEST), shape)

    return augment


def _layers(entry: Augment) -> list[Any]:
    options: dict[str, Any] = {"dtype": "float32", "seed": 0}
    match entry:
        case Augment(flip="both"):
            # One Keras layer would turn by 180 degrees or not at all; two draw each direction for itself.
            return [keras.layers.RandomFlip(axis, **options) for axis in ("horizontal", "vertical")]
        case Augment(flip=str() as axis):
            return [keras.layers.RandomFlip(axis, **options)]
        case Augment(rotate=float() as share):
            return [keras.layers.RandomRotation(share, **options)]
        case Augment(zoom=float() as share):
            return [keras.layers.RandomZoom(share, **options)]
        case Augment(translate=float() as share):
            return [keras.layers.RandomTranslation(share, share, **options)]
        case Augment(contrast=float() as share):
            # Given one number, Keras 3.15 only ever raises the contrast; the pair is what its documentation says.
            return [keras.layers.RandomContrast((share, share), **options)]
        case Augment(brightness=float() as share):
            return [keras.layers.RandomBrightness(share, **options)]
    raise ValueError(f"unknown augmentation {entry!r}")


class _ExampleSeeds(keras.random.SeedGenerator):
    """Hands a layer seeds that follow from one example's seed and a counter; holds no variable."""

    def __init__(self, seed: tf.Tensor) -> None:
        # Not the base class's: that would make a variable, which a tf.data function must not.
        self._example = seed
        self._calls = 0

    def next(self, ordered: bool = True) -> tf.Tensor:  # noqa: FBT001, FBT002 - Keras' signature
        """The next of this example's seeds, shape (2,), int32."""
        self._calls += 1
        return _fold_in(self._example, self._calls)


def _fold_in(seed: tf.Tensor, number: int) -> tf.Tensor:
    return tf.random.fold_in(seed, number)  # pyright: ignore[reportReturnType]  # a tensor; its stub says int
