"""The network of a job: a backbone with a new head, for training and for the bundle."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from graftwork.spec.fine_tune_job import Head, Mirror
from graftwork_jobs.model.backbone import LoadedBackbone, LoadedTextBackbone
from graftwork_jobs.model.dropout import DropoutSlice, SlicedDropout, slice_dropout, slice_inner_dropout, stock_dropout
from graftwork_jobs.model.mirror import averaging_mirrored
from graftwork_jobs.model.rebuild import LayerConfig, copy_weights, leaf_layers, rebuild

__all__ = ["DropoutSlice", "Network", "build_network", "inference_model"]

_POOLING = {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}
# A feature map without the batch axis: height, width, channels. Text backbones give vectors.
_MAP_RANK = 3
# Largest seed Keras' initializers take.
_SEED_RANGE = 2**31

# Where the numbers of seeds begin, so that no two layers share one.
_HEAD_DROPOUT_SEEDS = 1_000
_BACKBONE_SEEDS = 10_000

_DropoutFactory = Callable[[int], keras.layers.Layer]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A backbone with a head, as it is trained.

    Attributes:
        model: RGB 0..255, float32, shape (batch, height, width, 3), to outputs (such as logits),
            float32, shape (batch, outputs).
        backbone: picture to feature map; a layer of `model`.
        head: feature map to outputs; a layer of `model`.
        head_spec: what the head was made from.
        batch_norm_training: whether unfrozen BatchNorm layers use batch statistics in training.
    """

    model: keras.Model
    backbone: keras.Model
    head: keras.Model
    head_spec: Head
    batch_norm_training: bool


def build_network(
    backbone: LoadedBackbone | LoadedTextBackbone,
    head: Head,
    *,
    outputs: int,
    seed: int,
    batch_norm_training: bool,
    dropout_slice: DropoutSlice | None,
) -> Network:
    """Grow a head on a backbone.

    Args:
        backbone: from `load_backbone`; becomes part of the network, unless its dropout layers have to be replaced.
        head: from the spec.
        outputs: how many numbers the network gives for an example.
        seed: of initial weights and dropout masks: the same seed gives the same in every process.
        batch_norm_training: let the backbone run in training mode, so that its unfrozen BatchNorm layers use and
            update batch statistics. Otherwise it always runs in inference mode; its weights train all the same.
        dropout_slice: this worker's rows of each micro-batch; None draws a mask for whatever rows come.
    """

    def dropout(number: int) -> keras.layers.Layer:
        options: dict[str, Any] = {
            "seed": derived_seed(seed, _HEAD_DROPOUT_SEEDS + number),
            "name": f"head_dropout_{number}",
        }
        if dropout_slice is None:
            return keras.layers.Dropout(head.dropout, **options)
        return SlicedDropout(head.dropout, rows=dropout_slice.rows, offset=dropout_slice.offset, **options)

    trunk = backbone.model
    if batch_norm_training and dropout_slice is not None:
        trunk = _with_sliced_dropout(trunk, dropout_slice, seed)
    taken = trunk.inputs[0]
    given = keras.Input(shape=taken.shape[1:], dtype=taken.dtype, name=taken.name)
    features = trunk(given) if batch_norm_training else _InferenceMode(trunk)(given)
    top = _head(features.shape[1:], features.dtype, head, outputs=outputs, seed=seed, dropout=dropout)
    return Network(
        model=keras.Model(given, top(features), name="network"),
        backbone=trunk,
        head=top,
        head_spec=head,
        batch_norm_training=batch_norm_training,
    )


def inference_model(network: Network, finish: Callable[[Any], Any], mirror: Mirror | None = None) -> keras.Model:
    """What a bundle holds: stock layers, float32, predictions on top.

    Args:
        network: with the weights to copy.
        finish: lays the layers that turn outputs into predictions on top, the last one called `scores`.
        mirror: mirror images that predictions are averaged over; None for pictures as they are.

    Returns:
        A new model with copies of the weights: input `image`, RGB 0..255, float32, shape (batch, height, width, 3);
        output layer `scores`, predictions, float32, shape (batch, outputs).
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        backbone = rebuild(network.backbone, dtype_policy="float32", change=stock_dropout)
        features = backbone.outputs[0]
        top = _head(
            features.shape[1:],
            "float32",
            network.head_spec,
            outputs=network.head.output_shape[-1],
            seed=0,
            dropout=lambda number: keras.layers.Dropout(network.head_spec.dropout, name=f"head_dropout_{number}"),
        )
        copy_weights(network.head, top)
        model = keras.Model(backbone.inputs[0], finish(_run(top, features)), name="classifier")
        if mirror is not None:
            model = averaging_mirrored(model, mirror)
    finally:
        keras.config.set_dtype_policy(before)
    for layer in leaf_layers(model):
        layer.trainable = True
    return model


class _InferenceMode(keras.layers.Layer):
    """Runs a model in inference mode even while what it is part of trains; its weights train all the same.

    `model(inputs, training=False)` in a functional model does not: Keras 3 replaces that argument by the `training` the
    whole model is called with.
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name="inference_mode")
        self.model = model
        self.built = True

    def call(self, inputs: Any) -> Any:
        return self.model(inputs, training=False)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.model.compute_output_shape(input_shape)


def _with_sliced_dropout(trunk: keras.Model, part: DropoutSlice, seed: int) -> keras.Model:
    numbers = itertools.count(_BACKBONE_SEEDS)

    def next_seed() -> int:
        return derived_seed(seed, next(numbers))

    def change(layer: LayerConfig) -> LayerConfig:
        return slice_dropout(layer, part=part, seed=next_seed)

    if any(isinstance(layer, keras.layers.Dropout | keras.layers.SpatialDropout2D) for layer in leaf_layers(trunk)):
        trunk = rebuild(trunk, change=change, custom_objects={"SlicedDropout": SlicedDropout})
    for layer in leaf_layers(trunk):
        slice_inner_dropout(layer, part=part, seed=next_seed)
    return trunk


def _head(
    shape: tuple[int | None, ...],
    dtype: str,
    head: Head,
    *,
    outputs: int,
    seed: int,
    dropout: _DropoutFactory,
) -> keras.Model:
    """Pooling of a feature map, then for each hidden layer and for the last one: dropout, fully connected."""
    features = keras.Input(shape=shape, dtype=dtype, name="features")
    # Averages and logits in float32: bfloat16 keeps 8 bits of them.
    vector = features
    if len(shape) == _MAP_RANK:
        vector = _POOLING[head.pooling](name="head_pool", dtype="float32")(features)
    for number, units in enumerate(head.hidden):
        if head.dropout:
            vector = dropout(number)(vector)
        vector = keras.layers.Dense(
            units,
            activation=head.activation,
            kernel_initializer=keras.initializers.GlorotUniform(seed=derived_seed(seed, number)),
            name=f"head_hidden_{number}",
        )(vector)
    if head.dropout:
        vector = dropout(len(head.hidden))(vector)
    # From zero: a random start stays in every direction that the training data does not show, as noise in each answer.
    # Source: Kolesnikov et al. 2020 (arXiv:1912.11370), section 3.3. On ten classes of emoji with 5 to 20 examples
    # each, frozen EfficientNet-Lite0, it is right 3 to 6 points more often than from GlorotUniform.
    logits = keras.layers.Dense(outputs, kernel_initializer="zeros", dtype="float32", name="logits")(vector)
    return keras.Model(features, logits, name="head")


def _run(head: keras.Model, features: Any) -> Any:
    """Lay a head's layers on top of a feature map, without a model nested in a model."""
    for layer in leaf_layers(head):
        features = layer(features)
    return features


def derived_seed(seed: int, number: int) -> int:
    """A seed of its own for each layer."""
    return (seed * 1_000_003 + number) % _SEED_RANGE
