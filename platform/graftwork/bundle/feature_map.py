"""A network cut at its last feature map. Knows OpenVINO graphs, no pictures and no labels.

Training and serving both call this: what drift is measured against and what it is measured of must be the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.bundle.mirror_images import (
    below_averages,
    maps_in_a_batch,
    maps_side_by_side,
    mean_of_versions,
    turns_of_versions,
)
from graftwork.bundle.network_parts import nodes_below, part_of_network, runner, taking_bytes
from graftwork.openvino_core import openvino_core

_MAP_RANK = 4
# Height and width with channels before or behind them.
_SIDES = ((1, 2), (2, 3))
_POOLING = frozenset({"ReduceMean", "ReduceMax"})
# What turns logits into probabilities; a place's share is told in logits, where shares add up.
_ACTIVATIONS = frozenset({"Softmax", "Sigmoid"})
_LINEAR = frozenset(
    {"Add", "Constant", "Convert", "MatMul", "Multiply", "ReduceMean", "Reshape", "Squeeze", "Subtract"}
)
_OF_TWO = frozenset({"MatMul", "Multiply"})


@dataclass(frozen=True, kw_only=True)
class CutNetwork:
    """A network in two parts.

    Of one that averages over mirror images, a map holds those of all images turned back, stacked on the channel axis.

    Attributes:
        trunk: RGB pixels, shape (batch, height, width, 3), uint8, to feature maps, shape (batch, ...), float32.
        head: feature maps to what is explained, shape (batch, labels), float32: logits, where labels exclude each other
            minus their mean, for a softmax does not see what all have in common; numbers as they are. Averaged over
            mirror images where the network's answers are.
        axes: of the map's height and width within (batch, ...).
        is_linear: whether these are sums over the map's places and a constant.
    """

    trunk: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    head: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    axes: tuple[int, int]
    is_linear: bool


def cut_at_feature_map(model_file: Path, *, threads: int) -> CutNetwork | None:
    """Cut a network where its last feature map is pooled; None if there is no such place.

    Args:
        model_file: OpenVINO IR with one input, pixels, and one output.
        threads: CPU threads for a pass.
    """
    import openvino

    model = openvino_core().read_model(model_file)
    found = _last_pooling(model)
    if found is None:
        return None
    pooling, axes = found
    turns = turns_of_versions(model, pooling)
    answer, averaged = below_averages(model.get_results()[0].input_value(0))
    if turns is None or averaged != len(turns):
        return None  # mirror images that cannot be turned back
    source, (logits, is_softmax) = pooling.input_value(0), _logits(answer)
    is_linear = _is_linear(logits.get_node(), pooling)
    # The trunk takes a copy: the cut below changes the graph.
    trunk = part_of_network([source], model.get_parameters(), "trunk").clone()
    given = openvino.op.Parameter(source.get_element_type(), source.get_partial_shape())
    for target in source.get_target_inputs():
        target.replace_source_output(given.output(0))
    if any(node.get_type_name() == "Parameter" and node != given for node in nodes_below(logits.get_node())):
        return None  # something goes past the map: the head cannot be computed from it alone
    run_trunk = runner(taking_bytes(trunk), threads)
    run_head = runner(part_of_network([logits], [given], "head"), threads)

    def head(maps: NDArray[np.float32]) -> NDArray[np.float32]:
        # The head begins with pooling over all places, so that the maps need not be turned again.
        return mean_of_versions(run_head(maps_in_a_batch(maps, len(turns), axes)), len(maps))

    return CutNetwork(
        trunk=lambda pixels: maps_side_by_side(run_trunk(pixels), turns, axes),
        head=_centred(head) if is_softmax else head,
        axes=axes,
        is_linear=is_linear,
    )


def pooled_features(model_file: Path, *, threads: int) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None:
    """What gives the features that a network's answer is computed from; None if there is no feature map.

    Args:
        model_file: OpenVINO IR with one input, pixels, and one output.
        threads: CPU threads for a pass.

    Returns:
        A function: RGB pixels, shape (batch, height, width, 3), uint8, to features, shape (batch, features), float32;
            averaged over mirror images where the network looks at some.
    """
    model = openvino_core().read_model(model_file)
    found = _last_pooling(model)
    if found is None:
        return None
    trunk = part_of_network([found[0].output(0)], model.get_parameters(), "features")
    run = runner(taking_bytes(trunk), threads)

    def features(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return mean_of_versions(run(pixels), len(pixels)).reshape(len(pixels), -1)

    return features


def _centred(
    head: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    def centred(maps: NDArray[np.float32]) -> NDArray[np.float32]:
        logits = head(maps)
        return np.asarray(logits - logits.mean(axis=1, keepdims=True), np.float32)

    return centred


def _logits(answer: Any) -> tuple[Any, bool]:
    """The output before what makes probabilities of it, if anything does; and whether a softmax does."""
    node = answer.get_node()
    kind = node.get_type_name()
    return (node.input_value(0) if kind in _ACTIVATIONS else answer), kind == "Softmax"


def _last_pooling(model: Any) -> tuple[Any, tuple[int, int]] | None:
    """What pools a map over height and width, nearest to the output; and where these stand."""
    for node in nodes_below(model.get_results()[0]):
        if node.get_type_name() in _POOLING and (axes := _axes(node)) is not None:
            return node, axes
    return None


def _axes(pooling: Any) -> tuple[int, int] | None:
    """Where height and width stand in what a reduction goes over; None if it does not reduce just these."""
    if pooling.input_value(0).get_partial_shape().rank.get_length() != _MAP_RANK:
        return None
    constant = pooling.input_value(1).get_node()
    if constant.get_type_name() != "Constant":
        return None
    reduced = {int(axis) % _MAP_RANK for axis in constant.data.ravel()}
    return next((sides for sides in _SIDES if reduced == set(sides)), None)


def _is_linear(logits: Any, pooling: Any) -> bool:
    """Whether everything from the map to the logits is linear, so that each place has a share of its own."""

    def bends(node: Any) -> bool:
        kind = node.get_type_name()
        if kind in _OF_TWO:
            return all(value.get_node().get_type_name() != "Constant" for value in node.input_values())
        return kind not in _LINEAR

    beyond = pooling.input_value(0).get_node().get_name()
    return not any(bends(node) for node in nodes_below(logits, beyond=beyond))
