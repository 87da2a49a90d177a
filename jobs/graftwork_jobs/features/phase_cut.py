"""Where a phase's network is cut in two: a trunk that stays as it is, and a top that trains.

The cut lies where a single tensor crosses, at or below the freeze boundary; with the whole backbone frozen it lies
after the pooling of the head, which has nothing to train either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from graftwork_jobs.model.freeze import FreezeBoundary
from graftwork_jobs.model.network import Network

_SCALING_LAYERS = (keras.layers.Rescaling, keras.layers.Normalization)


@dataclass(frozen=True, kw_only=True)
class PhaseCut:
    """A network cut in two; all parts share their layers with it.

    Attributes:
        name: layer whose output crosses.
        trunk: pictures, RGB 0..255, float32, shape (batch, height, width, 3), to features.
        rest: what is left of the backbone, features to feature map; None when nothing is.
        head: what comes after `rest`, to logits.
    """

    name: str
    trunk: keras.Model
    rest: keras.Model | None
    head: keras.Model

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example's features."""
        return tuple(int(side) for side in self.trunk.output_shape[1:])

    def top(self) -> keras.Model:
        """Features to logits, as one model."""
        features = keras.Input(shape=self.shape, dtype="float32", name="features")
        inner = features if self.rest is None else self.rest(features)
        return keras.Model(features, self.head(inner), name="top")


def cut_for_phase(network: Network, boundary: FreezeBoundary) -> PhaseCut | None:
    """Cut a network for a phase; None when nothing worth keeping lies below the freeze boundary.

    Args:
        network: with a flat, functional backbone.
        boundary: what trains.
    """
    if boundary.first_trainable_layer is None:
        return _after_pooling(network)
    tensor = _last_single_tensor(network.backbone, boundary.first_trainable_layer)
    if tensor is None:
        return None
    return PhaseCut(
        name=tensor._keras_history.operation.name,  # noqa: SLF001 (the only way from a tensor to its layer)
        trunk=keras.Model(network.backbone.inputs[0], tensor, name="trunk"),
        rest=keras.Model(tensor, network.backbone.outputs[0], name="rest"),
        head=network.head,
    )


def _after_pooling(network: Network) -> PhaseCut:
    pooling, logits = network.head.layers[1], network.head.outputs[0]
    return PhaseCut(
        name=pooling.name,
        trunk=keras.Model(network.backbone.inputs[0], pooling(network.backbone.outputs[0]), name="trunk"),
        rest=None,
        head=keras.Model(pooling.output, logits, name="head_after_pooling"),
    )


def _last_single_tensor(backbone: keras.Model, first_trainable: str) -> Any:
    """The last tensor before a layer that alone carries what the layers after it need; None if there is none.

    Goes through the layers in order and keeps, after each, the tensors that layers still to come will read.
    """
    nodes = _nodes_in_order(backbone)
    boundary = [node.operation.name for node in nodes].index(first_trainable)
    last_reader = {id(tensor): position for position, node in enumerate(nodes) for tensor in node.input_tensors}
    found = None
    awaited: set[int] = set()
    for position, node in enumerate(nodes[:boundary]):
        own = id(node.outputs[0])
        awaited = {tensor for tensor in (*awaited, own) if last_reader.get(tensor, -1) > position}
        if awaited == {own} and not isinstance(node.operation, _SCALING_LAYERS):
            found = node.outputs[0]
    return found


def _nodes_in_order(backbone: keras.Model) -> list[Any]:
    """The backbone's layer calls, in the order of its layers.

    A layer may have been called outside the backbone too, so its own `output` may belong to another graph.
    """
    by_layer = {node.operation: node for nodes in backbone._nodes_by_depth.values() for node in nodes}  # noqa: SLF001
    return [by_layer[layer] for layer in backbone.layers if not isinstance(layer, keras.layers.InputLayer)]
