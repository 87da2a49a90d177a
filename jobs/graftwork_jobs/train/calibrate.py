"""Gives the BatchNorm layers of a randomly initialised backbone statistics that fit the data.

Frozen layers normalise with their moving statistics. Random weights come with mean 0 and variance 1, which fit
nothing: signals fade from layer to layer, and a head on top of them cannot learn. Pre-trained weights bring their own.

Source: Wu & Johnson, "Rethinking 'Batch' in BatchNorm" (2021), section 3: statistics averaged over batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras

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
    from graftwork_jobs.distributed.batch_norm import valid_rows

    layers = [
        layer
        for layer in backbone._flatten_layers(include_self=False, recursive=True)  # noqa: SLF001 (nested models too)
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    try:
        for number, (inputs, _, _) in enumerate(batches.take(_BATCHES).as_numpy_iterator()):
            for layer in layers:
                # Turns the moving average into the mean of the batches seen so far.
                layer.momentum = number / (number + 1)
            with valid_rows(inputs["valid"]):
                backbone(inputs["values"], training=True)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
