"""Dropout whose masks do not depend on how a batch is spread over workers. In training networks only, never in bundles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops


@dataclass(frozen=True, kw_only=True)
class DropoutSlice:
    """Which rows of the global micro-batch this worker computes.

    Attributes:
        rows: of the micro-batch, over all workers.
        offset: of this worker's first row in it.
    """

    rows: int
    offset: int


class SlicedDropout(keras.layers.Layer):
    """Draws one mask for the whole micro-batch and takes this worker's rows of it.

    The seed advances by one with each call in training mode, alike on all workers, and is kept in checkpoints as the
    layer's seed generator state.
    """

    def __init__(
        self,
        rate: float,
        *,
        seed: int,
        part: DropoutSlice,
        noise_shape: tuple[int | None, ...] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.rate = rate
        self.part = part
        self.noise_shape = noise_shape
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True
        self._build_at_init()

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Drop and rescale in training mode; rows beyond the micro-batch (padding) are left as they are."""
        if not training or self.rate == 0:
            return inputs
        size = ops.shape(inputs)
        shape = list(size[1:])
        if self.noise_shape is not None:
            shape = [side if wanted is None else wanted for side, wanted in zip(shape, self.noise_shape[1:], strict=True)]
        drawn = keras.random.uniform((self.part.rows, *shape), seed=self.seed_generator, dtype="float32")
        kept = ops.cast(drawn >= self.rate, inputs.dtype) / (1 - self.rate)
        padded = ops.concatenate([kept, ops.ones((size[0], *shape), dtype=inputs.dtype)], axis=0)
        start = min(self.part.offset, self.part.rows)
        return inputs * padded[start : start + size[0]]

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Unchanged."""
        return input_shape
