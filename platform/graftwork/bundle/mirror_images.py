"""Networks that average their answers over mirror images: what stands in their batch, and how to turn it back.

Such a network stacks all versions of its pictures on the batch axis, version after version: first the pictures as they
are, then all of them turned over one way, and so on.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from graftwork.bundle.network_parts import nodes_below, part_of_network, runner, taking_bytes

Turn: TypeAlias = tuple[bool, bool]
"""Whether a version is turned over top to bottom, and left to right."""

_TURNS: Final[tuple[Turn, ...]] = ((False, False), (False, True), (True, False), (True, True))
_PICTURES: Final = 4
_STACK: Final = 0


def turns_of_versions(model: Any, node: Any) -> tuple[Turn, ...] | None:
    """How each version of a picture is turned in what a node is computed from; None if that cannot be told.

    Args:
        model: OpenVINO model with one input, pixels.
        node: of the model.
    """
    stack = next((each for each in nodes_below(node) if _stacks_pictures(each)), None)
    if stack is None:
        return _TURNS[:1]
    shape = model.inputs[0].get_partial_shape()
    sides = [side.get_length() for side in list(shape)[1:] if side.is_static]
    if len(sides) != _PICTURES - 1:
        return None
    picture = np.random.default_rng(0).integers(0, 256, (1, *sides)).astype(np.uint8)
    part = part_of_network([stack.output(0)], model.get_parameters(), "versions").clone()
    found = runner(taking_bytes(part), threads=1)(picture)
    versions = found if list(found.shape[1:]) == sides else np.moveaxis(found, 1, -1)
    turns = [_turn(versions[0], version) for version in versions]
    known = [turn for turn in turns if turn is not None]
    return tuple(known) if len(known) == len(turns) else None


def below_averages(output: Any) -> tuple[Any, int]:
    """The output whose rows are averaged over versions of a picture to give another one; and how many versions."""
    count = 1
    while (stack := _averaged(output.get_node())) is not None:
        count *= stack.output(0).get_partial_shape()[0].get_length()
        output = stack.input_value(0)
    return output, count


def mean_of_versions(rows: NDArray[np.float32], examples: int) -> NDArray[np.float32]:
    """Rows of all versions, shape (versions * examples, ...), averaged to shape (examples, ...)."""
    return np.asarray(rows.reshape(-1, examples, *rows.shape[1:]).mean(axis=0), np.float32)


def maps_side_by_side(maps: NDArray[np.float32], turns: tuple[Turn, ...], axes: tuple[int, int]) -> NDArray[np.float32]:
    """Maps of all versions turned back and stacked on the channel axis: a place holds what all versions see there.

    Args:
        maps: shape (versions * batch, ...).
        turns: of the versions.
        axes: of height and width in `maps`.

    Returns:
        Maps, shape (batch, ...), with `versions` times the channels.
    """
    each = zip(np.split(maps, len(turns)), turns, strict=True)
    upright = [_turned(version, turn, axes) for version, turn in each]
    return np.concatenate(upright, axis=_channels(axes))


def maps_in_a_batch(maps: NDArray[np.float32], versions: int, axes: tuple[int, int]) -> NDArray[np.float32]:
    """What `maps_side_by_side` gave as one batch again, shape (versions * batch, ...); still turned back."""
    return np.concatenate(np.split(maps, versions, axis=_channels(axes)))


def _channels(axes: tuple[int, int]) -> int:
    return sum(range(_PICTURES)) - sum(axes)


def _stacks_pictures(node: Any) -> bool:
    if node.get_type_name() != "Concat" or node.get_attributes()["axis"] != _STACK:
        return False
    return bool(node.output(0).get_partial_shape().rank == _PICTURES)


def _turn(picture: NDArray[np.float32], version: NDArray[np.float32]) -> Turn | None:
    """How a picture, shape (height, width, channels), was turned over to give a version of it."""
    return next((turn for turn in _TURNS if np.array_equal(_turned(picture, turn, (0, 1)), version)), None)


def _turned(array: NDArray[np.float32], turn: Turn, axes: tuple[int, int]) -> NDArray[np.float32]:
    return np.flip(array, tuple(axis for axis, is_turned in zip(axes, turn, strict=True) if is_turned))


def _averaged(node: Any) -> Any | None:
    """The stack of versions that a node takes the mean of; None if it does no such thing."""
    if node.get_type_name() != "ReduceMean":
        return None
    stack, axes = (value.get_node() for value in node.input_values())
    is_over_versions = axes.get_type_name() == "Constant" and axes.data.ravel().tolist() == [_STACK]
    return stack if is_over_versions and stack.get_type_name() == "Reshape" else None
