"""Making a functional Keras model again with another input size, dtype or other layers, and moving weights across."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import keras
import numpy as np

_COUNTER = re.compile(r"_\d+$")

LayerConfig = dict[str, Any]
"""What Keras serialises a layer to: `class_name`, `config`, ..."""


class WeightsMismatchError(ValueError):
    """Two models that should hold the same weights differ in number or shape of them."""


class UnfoldError(ValueError):
    """A layer cannot be replaced by what is inside it."""


def rebuild(
    model: keras.Model,
    *,
    input_shape: tuple[int | None, ...] | None = None,
    dtype_policy: str | None = None,
    change: Callable[[LayerConfig], LayerConfig] | None = None,
    custom_objects: Mapping[str, type] | None = None,
    random_weights: bool = False,
) -> keras.Model:
    """The same functional model made afresh from its config, with the same weights.

    Args:
        model: a flat functional model with one input.
        input_shape: new shape of its input without the batch axis.
        dtype_policy: policy for all layers, except those that state `float32` in the config on purpose (final layers
            and scaling keep it).
        change: applied to each layer's serialised form.
        custom_objects: classes that `change` brings in.
        random_weights: leave the weights as initialised, except the statistics of input scaling.

    Raises:
        WeightsMismatchError: the layers' weights depend on the input size.
    """
    config = cast("dict[str, Any]", copy.deepcopy(model.get_config()))
    for layer in config["layers"]:
        # What a layer was built with would fix the old size.
        layer.pop("build_config", None)
        if layer["class_name"] == "InputLayer" and input_shape is not None:
            layer["config"]["batch_shape"] = [None, *input_shape]
    config["layers"] = [
        (change or _unchanged)(_with_policy(layer, dtype_policy) if dtype_policy else layer)
        for layer in config["layers"]
    ]
    rebuilt = keras.Model.from_config(config, custom_objects=dict(custom_objects or {}))
    if random_weights:
        _copy_statistics(model, rebuilt)
    else:
        copy_weights(model, rebuilt)
    return rebuilt


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Give a model the weights of another of the same structure.

    Raises:
        WeightsMismatchError: number or shapes differ.
    """
    ours, theirs = target.weights, source.weights
    if [tuple(weight.shape) for weight in ours] != [tuple(weight.shape) for weight in theirs]:
        raise WeightsMismatchError(
            f"{source.name} holds {len(theirs)} weights, {target.name} {len(ours)}, or their shapes differ"
        )
    for weight, value in zip(ours, theirs, strict=True):
        weight.assign(value)
    finalize(target)


def _copy_statistics(source: keras.Model, target: keras.Model) -> None:
    for ours, theirs in zip(leaf_layers(target), leaf_layers(source), strict=True):
        if isinstance(ours, keras.layers.Normalization):
            for weight, value in zip(ours.weights, theirs.weights, strict=True):
                weight.assign(value)
    finalize(target)


def finalize(model: keras.Model) -> None:
    """Let Normalization layers take up statistics that were assigned to their weights."""
    for layer in leaf_layers(model):
        if isinstance(layer, keras.layers.Normalization) and layer.built and layer.input_mean is None:
            layer.finalize_state()


def leaf_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Layers in topological order, nested models opened, inputs left out."""
    leaves: list[keras.layers.Layer] = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            leaves.extend(leaf_layers(layer))
        elif not isinstance(layer, keras.layers.InputLayer):
            leaves.append(layer)
    return leaves


def weights_digest(model: keras.Model) -> str:
    """SHA-256 over all weights: position, name, shape, dtype and bytes.

    The same in every process: Keras' names carry counters, so a weight counts with its place and its bare name only.
    """
    digest = hashlib.sha256()
    for position, weight in enumerate(model.weights):
        values = weight.numpy()
        name = _COUNTER.sub("", weight.name)
        digest.update(f"{position} {name} {values.shape} {values.dtype}\n".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def inline(model: keras.Model, *, unfold: Callable[[Any], bool] = lambda _: False) -> keras.Model:
    """The same model without models nested in it; layers and weights are shared with the original.

    Args:
        model: functional or sequential, with one input.
        unfold: which layers to replace by the layers and operations inside them.

    Raises:
        UnfoldError: such a layer has weights of its own.
    """
    image = keras.Input(batch_shape=model.inputs[0].shape, dtype=model.inputs[0].dtype, name="image")
    return keras.Model(image, _replay(model, image, unfold), name=model.name)


def _replay(model: keras.Model, image: Any, unfold: Callable[[Any], bool]) -> Any:
    def step(operation: Any) -> Any:
        if isinstance(operation, keras.Model):
            return lambda value, **_: _replay(operation, value, unfold)
        if unfold(operation):
            return lambda *values, **_: _unfolded(operation, values, unfold)
        return operation

    return _functional(model)._run_through_graph(image, operation_fn=step)  # noqa: SLF001 - Keras' own way through


def _unfolded(layer: Any, values: tuple[Any, ...], unfold: Callable[[Any], bool]) -> Any:
    """What a composite layer does to symbolic tensors, step by step, as layers and operations of their own."""
    parts = layer._layers  # noqa: SLF001 - the public `layers` exists on models only
    inner = {id(weight) for part in parts for weight in part.weights}
    if any(id(weight) not in inner for weight in layer.weights):
        raise UnfoldError(f"{layer.name} ({type(layer).__name__}) has weights of its own")
    for part in parts:
        if unfold(part):
            raise UnfoldError(f"{layer.name} ({type(layer).__name__}) holds {type(part).__name__}")
        if not part.name.startswith(layer.name):
            part.name = f"{layer.name}_{part.name}"
    return layer.call(*values)


def _functional(model: keras.Model) -> Any:
    return model._functional if isinstance(model, keras.Sequential) else model  # noqa: SLF001


def _with_policy(layer: LayerConfig, policy: str) -> LayerConfig:
    is_fixed = layer["class_name"] == "InputLayer" or layer["config"].get("name") in {"scaling", "pooling"}
    # Layers state a policy; bare operations such as a cast state a type, which is part of what they do.
    if is_fixed or not isinstance(layer["config"].get("dtype"), dict):
        return layer
    return {**layer, "config": {**layer["config"], "dtype": policy}}


def _unchanged(layer: LayerConfig) -> LayerConfig:
    return layer
