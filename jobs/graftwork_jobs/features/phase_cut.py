"""Where a phase's network is cut in two: a trunk that stays as it is, and a top that trains.

The cut lies where a single tensor crosses, at or below the freeze boundary; with the whole backbone frozen it lies
after the pooling of the head, which has nothing to train either. Frozen dropout layers are silent, so they do no harm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras

from graftwork_jobs.model.freeze import FreezeBoundary
from graftwork_jobs.model.network import Network

_FLOAT_BYTES = 4
# Text backbones pool by themselves: what they give is (batch, size).
_VECTOR_RANK = 2
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

    def bytes_of(self, examples: int) -> int:
        """Size of the features of that many examples."""
        return examples * math.prod(self.shape) * _FLOAT_BYTES

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
    moving = set(boundary.trainable_layers)
    if not moving:
        return _after_pooling(network)
    tensor = _last_single_tensor(network.backbone, moving)
    if tensor is None:
        return None
    return PhaseCut(
        name=tensor._keras_history.operation.name,  # noqa: SLF001 (the only way from a tensor to its layer)
        trunk=keras.Model(network.backbone.inputs[0], tensor, name="trunk"),
        rest=keras.Model(tensor, network.backbone.outputs[0], name="rest"),
        head=network.head,
    )


def _after_pooling(network: Network) -> PhaseCut:
    if len(network.backbone.output_shape) == _VECTOR_RANK:
        last = network.backbone.outputs[0]._keras_history.operation  # noqa: SLF001 (the only way to its layer)
        return PhaseCut(name=last.name, trunk=network.backbone, rest=None, head=network.head)
    pooling, logits = network.head.layers[1], network.head.outputs[0]
    return PhaseCut(
        name=pooling.name,
        trunk=keras.Model(network.backbone.inputs[0], pooling(network.backbone.outputs[0]), name="trunk"),
        rest=None,
        head=keras.Model(pooling.output, logits, name="head_after_pooling"),
    )


def _last_single_tensor(backbone: keras.Model, moving: set[str]) -> Any:
    """The last tensor before all of some layers that alone carries what comes after it; None if there is none.

    Goes through the layer calls in order and keeps, after each, the tensors that calls still to come will read. A cut
    that separates two calls of a layer is left out: Keras cannot make models of such parts.
    """
    nodes = _nodes_in_order(backbone)
    boundary = next(position for position, node in enumerate(nodes) if node.operation.name in moving)
    last_reader = {id(tensor): position for position, node in enumerate(nodes) for tensor in node.input_tensors}
    last_call = {id(node.operation): position for position, node in enumerate(nodes)}
    found, begun, called_until = None, False, 0
    awaited = {id(tensor) for tensor in backbone.inputs}
    for position, node in enumerate(nodes[:boundary]):
        own = {id(tensor): tensor for tensor in node.outputs}
        awaited = {tensor for tensor in awaited | own.keys() if last_reader.get(tensor, -1) > position}
        called_until = max(called_until, last_call[id(node.operation)])
        begun = begun or not _is_scaling(node.operation)
        if begun and called_until == position and len(awaited) == 1 and awaited <= own.keys():
            found = own[next(iter(awaited))]
    return found


def _is_scaling(operation: Any) -> bool:
    """Scaling of the input: its layers, and operators such as the one that swaps the colours."""
    return isinstance(operation, _SCALING_LAYERS) or not isinstance(operation, keras.layers.Layer)


def _nodes_in_order(backbone: keras.Model) -> list[Any]:
    """The backbone's calls of layers and operations, in the order in which it runs them; a shared layer has several.

    A layer may have been called outside the backbone too, so its own `output` may belong to another graph.
    """
    order = {id(operation): position for position, operation in enumerate(backbone.operations)}
    by_depth = sorted(backbone._nodes_by_depth.items(), reverse=True)  # noqa: SLF001 (Keras has no public way)
    calls = [node for _, nodes in by_depth for node in sorted(nodes, key=lambda node: order[id(node.operation)])]
    return [node for node in calls if not isinstance(node.operation, keras.layers.InputLayer)]
