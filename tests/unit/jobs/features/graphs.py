"""Which cuts of a network are possible, worked out from its serialised form alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras


def possible_cuts(backbone: keras.Model, moving: set[str]) -> list[str]:
    """Layers whose output alone reaches everything that is not needed to compute it, with nothing moving before it.

    By brute force, over each layer: take it and all that it is computed from; among the edges that leave this set there
    must be none but its own.

    Returns:
        In the order of growing sets.
    """
    layers = backbone.get_config()["layers"]
    inputs = {layer["name"] for layer in layers if layer["class_name"] == "InputLayer"}
    sources = {layer["name"]: set(_histories(layer["inbound_nodes"])) for layer in layers}
    edges = [(source, name) for name, read in sources.items() for source in read]
    found = []
    for name in sources:
        below = _ancestors(name, sources)
        crossing = {source for source, reader in edges if source in below and reader not in below}
        if name not in inputs and crossing == {name} and not below & moving:
            found.append((len(below), name))
    return [name for _, name in sorted(found)]


def ancestors(backbone: keras.Model, name: str) -> set[str]:
    """A layer and everything it is computed from."""
    return _ancestors(
        name, {layer["name"]: set(_histories(layer["inbound_nodes"])) for layer in backbone.get_config()["layers"]}
    )


def _ancestors(name: str, sources: dict[str, set[str]]) -> set[str]:
    known, waiting = {name}, [name]
    while waiting:
        fresh = sources[waiting.pop()] - known
        known |= fresh
        waiting.extend(fresh)
    return known


def _histories(part: Any) -> Iterator[str]:
    """Names of the layers whose outputs occur in a serialised call."""
    match part:
        case {"class_name": "__keras_tensor__", "config": {"keras_history": [name, *_]}}:
            yield name
        case dict():
            for value in part.values():
                yield from _histories(value)
        case list() | tuple():
            for value in part:
                yield from _histories(value)
