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
        entries: from the spec.

    Returns:
        None if there is nothing to do.
    """
    if not entries:
        return None
    layers = [_layer(entry) for entry in entries]

    def augment(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        shape = image.shape
        for number, layer in enumerate(layers):
            image = _apply(layer, image, tf.random.fold_in(seed, number))
        return tf.ensure_shape(tf.clip_by_value(tf.cast(image, tf.float32), 0.0, _LARGEST), shape)

    return augment


class _ExampleSeeds(keras.random.SeedGenerator):
    """Hands a layer fresh stateless seeds that follow from one example's seed: nothing is remembered."""

    def __init__(self, seed: tf.Tensor) -> None:
        super().__init__(seed=0)
        self._example = seed
        self._calls = 0

    def next(self, ordered: bool = True) -> tf.Tensor:
        """The next of this example's seeds."""
        self._calls += 1
        return tf.random.fold_in(self._example, self._calls)
