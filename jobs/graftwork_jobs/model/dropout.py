"""Dropout whose masks do not depend on how a batch is spread over workers. For training, never in bundles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from graftwork_jobs.model.rebuild import LayerConfig

_first_row: ContextVar[Any] = ContextVar("first_row", default=None)


@contextmanager
def first_row(row: Any) -> Iterator[None]:
    """While a model is called on other rows of the micro-batch than this worker's own: number of the first of them.

    Args:
        row: an int, or a scalar while a function is traced.
    """
    token = _first_row.set(row)
    try:
        yield
    finally:
        _first_row.reset(token)


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
        rows: int,
        offset: int,
        noise_shape: Sequence[int | None] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.rate = rate
        self.seed = seed
        self.part = DropoutSlice(rows=rows, offset=offset)
        self.noise_shape = noise_shape
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True
        self._build_at_init()

    def call(self, inputs: Any, training: bool = False) -> Any:  # noqa: FBT001, FBT002 - Keras' signature
        """Drop and rescale in training mode; rows beyond the micro-batch (padding) are left as they are.

        Silent where it is frozen with the layers around it, so that outputs of frozen layers can be kept.
        """
        if not training or self.rate == 0 or not self.trainable:
            return inputs
        size = ops.shape(inputs)
        shape = list(size[1:])
        if self.noise_shape is not None:
            shape = [
                side if wanted is None else wanted for side, wanted in zip(shape, self.noise_shape[1:], strict=True)
            ]
        drawn = keras.random.uniform((self.part.rows, *shape), seed=self.seed_generator, dtype="float32")
        kept = ops.cast(drawn >= self.rate, inputs.dtype) / (1 - self.rate)
        padded = ops.concatenate([kept, ops.ones((size[0], *shape), dtype=inputs.dtype)], axis=0)
        first = _first_row.get()
        start = ops.minimum(self.part.offset if first is None else first, self.part.rows)
        return inputs * ops.slice(padded, [start, *([0] * len(shape))], [size[0], *shape])

    def get_config(self) -> dict[str, Any]:
        """All that makes another one; weights and seed state are not part of it."""
        return {
            **super().get_config(),
            "rate": self.rate,
            "seed": self.seed,
            "rows": self.part.rows,
            "offset": self.part.offset,
            "noise_shape": self.noise_shape,
        }

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Unchanged."""
        return input_shape


def slice_dropout(layer: LayerConfig, *, part: DropoutSlice, seed: Callable[[], int]) -> LayerConfig:
    """A serialised layer with dropout made independent of the spread over workers; other layers as they are."""
    config = layer["config"]
    match layer["class_name"]:
        case "Dropout":
            noise_shape = config.get("noise_shape")
        case "SpatialDropout2D":
            noise_shape = [None, 1, 1, None]
        case _:
            return layer
    return {
        **layer,
        "class_name": "SlicedDropout",
        "module": None,
        "registered_name": "SlicedDropout",
        "config": {
            **{key: config[key] for key in ("name", "trainable", "dtype")},
            "rate": config["rate"],
            "seed": seed(),
            "rows": part.rows,
            "offset": part.offset,
            "noise_shape": noise_shape,
        },
    }


def slice_inner_dropout(layer: keras.layers.Layer, *, part: DropoutSlice, seed: Callable[[], int]) -> None:
    """Replace the dropout layers inside a composite layer, such as a transformer block, at any depth."""
    for parent in layer._flatten_layers():  # noqa: SLF001 - the public `layers` exists on models only
        for name, inner in list(vars(parent).items()):
            if isinstance(inner, keras.layers.Dropout):
                sliced = SlicedDropout(
                    inner.rate,
                    seed=seed(),
                    rows=part.rows,
                    offset=part.offset,
                    noise_shape=inner.noise_shape,
                    name=inner.name,
                    dtype=inner.dtype_policy,
                )
                _replace_inner(parent, name, inner, sliced)


def _replace_inner(parent: Any, name: str, old: keras.layers.Layer, new: keras.layers.Layer) -> None:
    """Put another layer in the place of an inner one; a built layer's list of inner layers is closed otherwise."""
    # Keras has no public way: a composite layer makes its parts itself.
    tracker = parent._tracker  # noqa: SLF001
    was_locked = tracker.locked
    tracker.unlock()
    setattr(parent, name, new)
    parent._layers.remove(old)  # noqa: SLF001
    if was_locked:
        parent._lock_state()  # noqa: SLF001


def stock_dropout(layer: LayerConfig) -> LayerConfig:
    """The reverse of `slice_dropout`."""
    if layer["class_name"] != "SlicedDropout":
        return layer
    config = layer["config"]
    kept = {key: config[key] for key in ("name", "trainable", "dtype", "rate", "noise_shape")}
    return {
        **layer,
        "class_name": "Dropout",
        "module": "keras.layers",
        "registered_name": None,
        "config": {**kept, "seed": None},
    }
