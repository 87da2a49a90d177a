"""Which layers of a backbone train in a phase."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import keras

from graftwork.errors import Problem, SpecError
from graftwork.near_names import near_names
from graftwork.spec.fine_tune_job import Lora, Unfreeze
from graftwork_jobs.model.adapters import adapter_size, adapter_variables, linear_layers
from graftwork_jobs.model.network import Network
from graftwork_jobs.model.rebuild import leaf_layers

_SCALING_LAYERS = (keras.layers.Rescaling, keras.layers.Normalization)
_SHOWN_NAMES = 8

UnfreezeSetting: TypeAlias = Literal["none", "all", "lora"] | Unfreeze
"""`unfreeze` of a phase."""


@dataclass(frozen=True)
class FreezeBoundary:
    """A freeze setting, resolved for one network.

    Attributes:
        first_trainable_layer: the backbone layer at the boundary; None when only the head trains.
        trainable_layers: backbone layers from there on, in the backbone's order.
        only_adapters: whether nothing of these layers trains but their low-rank adapters.
        trainable_parameters: numbers that training changes, head included.
        total_parameters: all numbers of the network, statistics included.
    """

    first_trainable_layer: str | None
    trainable_layers: tuple[str, ...]
    trainable_parameters: int
    total_parameters: int
    only_adapters: bool = False


def backbone_layers(network: Network) -> list[keras.layers.Layer]:
    """Layers that count for freezing, in the backbone's order: without scaling of the input and pooling at the end."""
    layers = leaf_layers(network.backbone)
    if layers and isinstance(layers[-1], keras.layers.GlobalAveragePooling1D):
        layers = layers[:-1]
    while layers and isinstance(layers[0], _SCALING_LAYERS):
        layers = layers[1:]
    return layers


def resolve_unfreeze(network: Network, unfreeze: UnfreezeSetting, *, where: str = "unfreeze") -> FreezeBoundary:
    """Find the freeze boundary; changes nothing.

    Args:
        network: whose backbone.
        unfreeze: from the spec.
        where: YAML path of `unfreeze`, for the error.

    Raises:
        SpecError: no such layer (with near names), more layers than there are, or none that takes an adapter.
    """
    layers = backbone_layers(network)
    names = [layer.name for layer in layers]
    match unfreeze:
        case "none":
            first = len(names)
        case "all":
            first = 0
        case "lora":
            return _adapters_only(network, layers, Lora(), where)
        case Unfreeze(lora=Lora() as lora):
            return _adapters_only(network, layers, lora, where)
        case Unfreeze(last_layers=int() as count):
            first = _from_end(count, len(names), where)
        case Unfreeze(fraction=float() as share):
            first = len(names) - math.ceil(share * len(names))
        case Unfreeze(from_layer=str() as name):
            first = layer_index(name, names, f"{where}.fromLayer")
        case _:
            raise ValueError(f"unknown unfreeze setting {unfreeze!r}")
    trainable = _trainable_parameters(network.head) + sum(_trainable_parameters(layer) for layer in layers[first:])
    return FreezeBoundary(
        first_trainable_layer=names[first] if first < len(names) else None,
        trainable_layers=tuple(names[first:]),
        trainable_parameters=trainable,
        total_parameters=_total_parameters(network),
    )


def _adapters_only(network: Network, layers: list[keras.layers.Layer], lora: Lora, where: str) -> FreezeBoundary:
    """Adapters train in all layers that take one; what lies below the first of these stays as it is."""
    sizes = [sum(adapter_size(part, lora.rank) for part in linear_layers(layer)) for layer in layers]
    first = next((position for position, size in enumerate(sizes) if size), None)
    if first is None:
        raise SpecError(
            Problem(
                where=where,
                received="low-rank adapters for a backbone without fully connected layers",
                expected="a backbone with such layers, such as a transformer",
                fix="Unfreeze layers themselves: `{fraction: 0.3}`, `{lastLayers: 20}` or `all`.",
            )
        )
    return FreezeBoundary(
        first_trainable_layer=layers[first].name,
        trainable_layers=tuple(layer.name for layer in layers[first:]),
        trainable_parameters=_trainable_parameters(network.head) + sum(sizes),
        total_parameters=_total_parameters(network),
        only_adapters=True,
    )


def apply_freeze(network: Network, boundary: FreezeBoundary) -> None:
    """Set what trains. Compile afresh afterwards: Keras binds trainable weights at compilation.

    Frozen BatchNorm layers run in inference mode (Keras 3 does so for layers that are not trainable).
    """
    network.model.trainable = True
    trainable = set(boundary.trainable_layers)
    adapters = {id(variable) for variable in adapter_variables(network.backbone)}
    for layer in leaf_layers(network.backbone):
        layer.trainable = layer.name in trainable
        # Keras leaves the variables alone where a layer is as it shall be already, whatever these are.
        for variable in _variables_to_train(layer):
            variable.trainable = layer.trainable and (id(variable) in adapters) is boundary.only_adapters
    if boundary.only_adapters:
        _freeze_statistics(network.backbone)


def _variables_to_train(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Weights that would train if nothing were frozen; no statistics."""
    parts = layer._flatten_layers()  # noqa: SLF001 - the public `layers` exists on models only
    return [variable for part in parts for variable in part._trainable_variables]  # noqa: SLF001 - as they were made


def _freeze_statistics(backbone: keras.Model) -> None:
    """Let BatchNorm layers run in inference mode, at any depth."""
    for part in backbone._flatten_layers():  # noqa: SLF001 - the public `layers` exists on models only
        if isinstance(part, keras.layers.BatchNormalization):
            part.trainable = False


def _from_end(count: int, available: int, where: str) -> int:
    if count > available:
        raise SpecError(
            Problem(
                where=f"{where}.lastLayers",
                received=str(count),
                expected=f"at most {available}, the number of the backbone's layers",
                fix="Use a smaller number, or `all`.",
            )
        )
    return available - count


def layer_index(name: str, names: list[str], where: str) -> int:
    """Place of the layer of that name, or of the first of the block whose layers' names start with it.

    Args:
        name: of a layer or a block.
        names: of all layers.
        where: YAML path, for the error.

    Raises:
        SpecError: there is none (with near names).
    """
    if name in names:
        return names.index(name)
    for position, known in enumerate(names):
        if _is_of_block(known, name):
            return position
    raise SpecError(
        Problem(
            where=where,
            received=name,
            expected=f"one of the backbone's {len(names)} layers, or the beginning of a block's layer names",
            fix=_suggestion(name, names),
        )
    )


def _is_of_block(layer: str, prefix: str) -> bool:
    """`block6a` is the block of `block6a_conv`; `block6` too, but `block6` is not that of `block61`."""
    if not layer.startswith(prefix):
        return False
    following = layer[len(prefix) : len(prefix) + 1]
    return not (prefix[-1].isdigit() and following.isdigit())


def _suggestion(name: str, names: list[str]) -> str:
    blocks = list(dict.fromkeys(known.split("_")[0] for known in names))
    near = near_names(name, blocks) + [known for known in near_names(name, names, limit=5) if known not in blocks]
    if near:
        return f"Did you mean {', '.join(f'`{known}`' for known in near)}?"
    step = max(1, len(blocks) // _SHOWN_NAMES)
    return f"Layer names begin with, among others: {', '.join(blocks[::step])}."


def _total_parameters(network: Network) -> int:
    adapters = adapter_variables(network.backbone)
    return int(network.model.count_params() - sum(math.prod(variable.shape) for variable in adapters))


def _trainable_parameters(layer: keras.layers.Layer) -> int:
    """Numbers that would train if the layer were not frozen; adapters do not count."""
    adapters = {id(variable) for variable in adapter_variables(layer)}
    return sum(math.prod(each.shape) for each in _variables_to_train(layer) if id(each) not in adapters)
