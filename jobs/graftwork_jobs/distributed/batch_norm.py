"""Batch normalisation over the whole batch, wherever its rows are.

Stock `BatchNormalization` layers keep their class (bundles hold stock layers only); their moments are computed here
while a model trains: over all workers, and leaving out rows that only pad the last batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras
from keras import ops

from graftwork_jobs.distributed.collectives import Collectives, Tensor

_valid_rows: ContextVar[Tensor] = ContextVar("valid_rows")


@contextmanager
def valid_rows(valid: Tensor) -> Iterator[None]:
    """While a model is called: which rows of the batch count.

    Args:
        valid: 1 for a real row, 0 for padding; shape (rows,), float32.
    """
    token = _valid_rows.set(valid)
    try:
        yield
    finally:
        _valid_rows.reset(token)


def synchronise(model: keras.Model, collectives: Collectives) -> None:
    """Make every batch normalisation layer of a model take its moments over all workers' valid rows.

    Takes effect in training mode only; the model must then be called inside `valid_rows`.
    """
    for layer in model._flatten_layers(include_self=False, recursive=True):  # noqa: SLF001 - the layers of nested models too
        if isinstance(layer, keras.layers.BatchNormalization):
            layer._moments = _SharedMoments(layer, collectives)  # noqa: SLF001 - the one step to replace


class _SharedMoments:
    """Stands in for a layer's `_moments` method."""

    def __init__(self, layer: keras.layers.BatchNormalization, collectives: Collectives) -> None:
        self._layer = layer
        self._collectives = collectives

    def __call__(self, inputs: Tensor, mask: Any) -> tuple[Tensor, Tensor]:
        """Mean and variance by channel, each of shape (channels,)."""
        layer = self._layer
        axes = [axis for axis in range(len(inputs.shape)) if axis != layer.axis % len(inputs.shape)]
        weight = ops.reshape(ops.cast(_valid_rows.get(), inputs.dtype), [-1] + [1] * (len(inputs.shape) - 1))
        positions = ops.cast(ops.size(inputs) // (ops.shape(inputs)[0] * inputs.shape[layer.axis]), inputs.dtype)
        # Sums of differences from the moving mean, which is the same everywhere: one exchange suffices, and the
        # variance does not drown in rounding as a plain E[x^2] - E[x]^2 would. Source: Chan, Golub, LeVeque (1983),
        # "Algorithms for computing the sample variance", shifted data.
        shift = ops.stop_gradient(ops.cast(layer.moving_mean, inputs.dtype))
        difference = (inputs - _along(shift, layer.axis, len(inputs.shape))) * weight
        sums = ops.stack([ops.sum(difference, axes), ops.sum(ops.square(difference), axes)])
        count = ops.sum(weight) * positions
        packed = ops.concatenate([ops.reshape(sums, [-1]), ops.reshape(count, [1])], axis=0)
        packed = self._collectives.sum(packed, name=f"moments/{layer.path}")
        total, total_of_squares = ops.split(packed[:-1], 2)
        # A piece of the last batch can hold padding only: leave the moving statistics where they are.
        empty = ops.equal(packed[-1], 0)
        rows = ops.maximum(packed[-1], 1)
        mean_difference = total / rows
        variance = ops.maximum(total_of_squares / rows - ops.square(mean_difference), 0)
        return (
            shift + mean_difference,
            ops.where(empty, ops.cast(layer.moving_variance, inputs.dtype), variance),
        )


def _along(values: Tensor, axis: int, rank: int) -> Tensor:
    shape = [1] * rank
    shape[axis] = -1
    return ops.reshape(values, shape)
