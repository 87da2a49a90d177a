"""Batch normalisation over the whole batch, wherever its rows are.

Stock `BatchNormalization` layers keep their class (bundles hold stock layers only); their moments are computed here
while a model trains: over all workers, and leaving out rows that only pad the last batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
        layer, rank = self._layer, len(inputs.shape)
        weight = ops.cast(_valid_rows.get(), inputs.dtype)
        positions = ops.cast(ops.size(inputs) // (ops.shape(inputs)[0] * inputs.shape[layer.axis]), inputs.dtype)
        # Sums of differences from the moving mean, which is the same everywhere: one exchange suffices, and the
        # variance does not drown in rounding as a plain E[x^2] - E[x]^2 would. Source: Chan, Golub, LeVeque (1983),
        # "Algorithms for computing the sample variance", shifted data.
        shift = ops.stop_gradient(ops.cast(layer.moving_mean, inputs.dtype))
        sums = _sums(layer.axis % rank, rank)(inputs, shift, weight)
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


def _sums(axis: int, rank: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A function that sums up differences and their squares by channel, with a gradient of its own.

    Left to itself, TensorFlow goes over the activations once more for each operation on the way back; what that comes
    to is one multiplication and one addition (`tests/benchmarks/bench_batch_norm.py`).

    Args:
        axis: of the channels.
        rank: number of the inputs' dimensions, of which the first are rows.

    Returns:
        From inputs, a value for each channel and a weight for each row to the weighted sums over rows and positions of
        (inputs - value) and of its square, shape (2, channels).
    """
    within = [place for place in range(1, rank) if place != axis]

    def by_row(values: Tensor) -> Tensor:
        return ops.sum(values, within) if within else values

    def along(values: Tensor) -> Tensor:
        """Values of shape (rows or 1, channels), to be combined with inputs."""
        rows, channels = ops.shape(values)
        return ops.reshape(values, [rows, *(channels if place == axis else 1 for place in range(1, rank))])

    def sums(inputs: Tensor, shift: Tensor, weight: Tensor) -> tuple[Tensor, Callable[..., Any]]:
        difference = inputs - along(shift[None])
        rows = weight[None]
        total = ops.concatenate([rows @ by_row(difference), rows @ by_row(ops.square(difference))], axis=0)

        def gradient(*arguments: Tensor, upstream: Tensor = None) -> tuple[Tensor, ...]:
            by_sum, by_square = ops.split(arguments[-1] if upstream is None else upstream, 2, axis=0)
            slope = 2 * weight[:, None] * by_square
            offset = weight[:, None] * by_sum - slope * shift
            return inputs * along(slope) + along(offset), ops.zeros_like(shift), ops.zeros_like(weight)

        return total, gradient

    with_gradient: Callable[[Tensor, Tensor, Tensor], Tensor] = ops.custom_gradient(sums)
    return with_gradient
