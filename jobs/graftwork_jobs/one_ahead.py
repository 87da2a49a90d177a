"""Overlaps what a device does with what this process does: the next element is begun before the last one is used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

# The call of a compiled function copies smaller ones faster than a call of their own before it.
_WORTH_SENDING_BYTES = 1024**2


def one_ahead(elements: Iterable[T]) -> Iterator[T]:
    """The elements, each one given out after the next has been drawn.

    Args:
        elements: whose drawing begins something that goes on by itself, such as a copy to a GPU or a computation on it.
    """
    drawn = iter(elements)
    try:
        last = next(drawn)
    except StopIteration:
        return
    for element in drawn:
        yield last
        last = element
    yield last


def sent(arrays: Any, device: Any) -> Any:
    """Arrays on their way to a device; as they are where compiled functions take them as fast: on CPU, or if small.

    Args:
        arrays: NumPy's, in any structure.
        device: the `jax.Device` that computes on them.
    """
    import jax

    if device.platform == "cpu" or sum(each.nbytes for each in jax.tree.leaves(arrays)) < _WORTH_SENDING_BYTES:
        return arrays
    return jax.device_put(arrays, device)
