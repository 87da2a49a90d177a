"""Gives the BatchNorm layers of a randomly initialised backbone statistics that fit the data.

Frozen layers normalise with their moving statistics. Random weights come with mean 0 and variance 1, which fit
nothing: signals fade from layer to layer, and a head on top of them cannot learn. Pre-trained weights bring their own.

Source: Wu & Johnson, "Rethinking 'Batch' in BatchNorm" (2021), section 3: statistics averaged over batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

# Means over 16 batches of 32 pictures differ from those over all data by a few percent.
_BATCHES = 16


def calibrate_batch_norm(backbone: keras.Model, batches: tf.data.Dataset) -> None:
    """Replace the moving statistics by averages over some batches of training data; weights stay as they are.

    Args:
        backbone: pictures to feature map; its BatchNorm layers must be synchronised over the workers.
        batches: elements (inputs of `TrainingModel`, class numbers, weights); all workers alike.
    """
    layers = [
        layer
        for layer in backbone._flatten_layers(include_self=False, recursive=True)  # noqa: SLF001 (nested models too)
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    if not layers:
        return
    statistics = [moment for layer in layers for moment in (layer.moving_mean, layer.moving_variance)]
    momenta = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            # Leaves the moments of the batch alone.
            layer.momentum = 0.0
        moments_of = _on_jax(backbone, statistics) if keras.backend.backend() == "jax" else _on_tensorflow(backbone)
        sums, count = [np.zeros(moment.shape, np.float64) for moment in statistics], 0
        for inputs, _, _ in batches.take(_BATCHES).as_numpy_iterator():
            moments_of(inputs["values"], inputs["valid"])
            sums = [total + np.asarray(moment.value) for total, moment in zip(sums, statistics, strict=True)]
            count += 1
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    for moment, total in zip(statistics, sums, strict=True):
        moment.assign((total / count).astype(np.float32))


def _on_tensorflow(backbone: keras.Model) -> Callable[[Any, Any], None]:
    """Compiled: moves the statistics to those of a batch."""
    from graftwork_jobs.distributed.batch_norm import valid_rows

    def run(values: tf.Tensor, valid: tf.Tensor) -> None:
        with valid_rows(valid):
            backbone(values, training=True)

    return _as_graph(run)


def _as_graph(run: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    import tensorflow as tf

    compiled: Callable[[Any, Any], None] = tf.function(run, autograph=False, reduce_retracing=True)
    return compiled


def _on_jax(backbone: keras.Model, statistics: Sequence[keras.Variable]) -> Callable[[Any, Any], None]:
    """The same on JAX, whose functions return what changes."""
    import jax

    from graftwork_jobs.distributed.batch_norm import valid_rows

    variables = backbone.variables

    def run(state: list[Any], values: Any, valid: Any) -> list[Any]:
        with keras.StatelessScope(state_mapping=list(zip(variables, state, strict=True))) as scope, valid_rows(valid):
            backbone(values, training=True)
            return [scope.get_current_value(moment) for moment in statistics]

    compiled = jax.jit(run)

    def moments_of(values: Any, valid: Any) -> None:
        changed = compiled([variable.value for variable in variables], values, valid)
        for moment, value in zip(statistics, changed, strict=True):
            moment.assign(value)

    return moments_of
