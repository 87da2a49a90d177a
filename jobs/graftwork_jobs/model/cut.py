"""Where a backbone ends: the feature map the head grows on."""

from __future__ import annotations

import math
from typing import Any

import keras

from graftwork.errors import Problem, SpecError
from graftwork.near_names import did_you_mean

_POOLING_LAYERS = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)
_MAP_RANK = 4
_USABLE_RANKS = frozenset({2, 3, _MAP_RANK})


def cut_at(model: keras.Model, output_layer: str | None) -> keras.Model:
    """A model without what comes after its feature map, or after tokens or a vector, which become such a map.

    Args:
        model: flat and functional.
        output_layer: layer whose output to end at; None finds the last feature map before global pooling.

    Raises:
        SpecError: no such layer (with near names), or it gives nothing that a head can grow on.
    """
    end = (
        _as_map(_output_of(model, output_layer), output_layer) if output_layer is not None else _last_feature_map(model)
    )
    return keras.Model(model.inputs[0], end, name=model.name)


def end_of(model: keras.Model) -> str:
    """The layer that a cut model ends with and what it gives, such as `out_relu, 7 x 7 x 1280`."""
    output = model.outputs[0]
    return f"{output._keras_history.operation.name}, {shape_text(output.shape[1:])}"  # noqa: SLF001 (the only way)


def _output_of(model: keras.Model, name: str) -> Any:
    outputs = _outputs_by_layer(model)
    output = outputs.get(name)
    maps = [known for known, candidate in outputs.items() if _is_map(candidate)]
    if output is None:
        raise SpecError(
            Problem(
                where="spec.backbone.outputLayer",
                received=name,
                expected=f"one of the backbone's {len(outputs)} layers",
                fix=did_you_mean(name, maps) or f"The last ones that give a feature map are {', '.join(maps[-5:])}.",
            )
        )
    if not hasattr(output, "shape") or len(output.shape) not in _USABLE_RANKS or None in output.shape[1:]:
        raise SpecError(
            Problem(
                where="spec.backbone.outputLayer",
                received=f"{name}, which gives shape {shape_text(getattr(output, 'shape', ()))}",
                expected="a layer that gives a feature map (batch, height, width, channels), tokens (batch, tokens, "
                "channels) or a vector (batch, channels), of known size",
                fix=f"The last ones that give a feature map are {', '.join(maps[-5:])}.",
            )
        )
    return output


def _as_map(output: Any, layer: str) -> Any:
    """Tokens as a map, a square one if there are so many, as of a transformer's patches; a vector as one of one place.

    Average pooling over it is the mean of the tokens, and the vector itself.
    """
    match tuple(output.shape[1:]):
        case (int(tokens), int(channels)):
            side = math.isqrt(tokens)
            grid = (side, side) if side * side == tokens else (tokens, 1)
            return keras.layers.Reshape((*grid, channels), name=f"{layer}_as_map")(output)
        case (int(channels),):
            return keras.layers.Reshape((1, 1, channels), name=f"{layer}_as_map")(output)
    return output


def _outputs_by_layer(model: keras.Model) -> dict[str, Any]:
    """What each layer gives in this very model, in topological order; `layer.output` may be that of another one."""
    nodes = model._nodes_by_depth  # noqa: SLF001 - the only list of a model's own nodes
    return {
        node.operation.name: node.output_tensors[0]
        for depth in sorted(nodes, reverse=True)
        for node in nodes[depth]
        if not node.is_input
    }


def _last_feature_map(model: keras.Model) -> Any:
    """Walk back from the output to the tensor that global pooling (or flattening) takes."""
    tensor = model.outputs[0] if len(model.outputs) == 1 else None
    while tensor is not None:
        history = tensor._keras_history  # noqa: SLF001 - the only way from a tensor to its layer
        inputs = history.operation._inbound_nodes[history.node_index].input_tensors  # noqa: SLF001
        pooled = isinstance(history.operation, (*_POOLING_LAYERS, keras.layers.Flatten)) and _is_map(inputs[0])
        if pooled:
            return inputs[0]
        if _is_map(tensor) and tuple(tensor.shape[1:3]) != (1, 1):
            return tensor
        tensor = inputs[0] if len(inputs) == 1 else None
    raise SpecError(
        Problem(
            where="spec.backbone",
            received=f"{model.name}, which gives {', '.join(shape_text(output.shape) for output in model.outputs)}",
            expected="a network that ends in a feature map, or pools one before its classifier",
            fix="Name the layer to grow the head on with outputLayer.",
        )
    )


def _is_map(tensor: Any) -> bool:
    return hasattr(tensor, "shape") and len(tensor.shape) == _MAP_RANK


def shape_text(shape: Any) -> str:
    """A shape for people: `any x 224 x 224 x 3`."""
    return " x ".join("any" if side is None else str(side) for side in shape)
