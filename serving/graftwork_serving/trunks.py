"""What models share: trunks, loaded once however many heads grow on them, and readers of inputs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakValueDictionary

import numpy as np

from graftwork.preprocess.text import TextSpec
from graftwork_serving.engine import Engine, EngineOptions, OpenVinoEngine, ReadNetwork
from graftwork_serving.inputs import InputReader, input_reader
from graftwork_serving.network import Head, architecture_of, read_network, split, trunk_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graftwork.preprocess.inputs import InputSpec
    from graftwork.spec.engine import EngineName

_T = TypeVar("_T")


class Trunk:
    """The part of several models below their heads.

    Args:
        engine: gives features, shape (examples, features), float32.
        weight_bytes: what its weights take.
    """

    def __init__(self, engine: Engine, weight_bytes: int) -> None:
        self.engine = engine
        self.weight_bytes = weight_bytes

    def predict(self, batch: NDArray[np.generic], heads: Sequence[Head], *, alone: bool) -> list[NDArray[np.float32]]:
        """Scores of examples in one pass, each from a head of its own.

        Args:
            batch: as for an engine.
            heads: one an example.
            alone: no other pass is under way or waiting.

        Returns:
            For each example its scores, shape (labels of its head,), float32.
        """
        features = self.engine.predict(batch, alone=alone)
        rows: list[NDArray[np.float32]] = [features[0]] * len(heads)
        for head, places in _places(heads).items():
            for place, scores in zip(places, head(features[places]), strict=True):
                rows[place] = scores
        return rows


class TrunkedEngine:
    """One model: a trunk that others share, and its head.

    Args:
        trunk: the part below.
        head: the part above.
    """

    def __init__(self, trunk: Trunk, head: Head) -> None:
        self.trunk = trunk
        self.head = head
        self.name: EngineName = trunk.engine.name
        self.batch_size = trunk.engine.batch_size

    def predict(self, batch: NDArray[np.generic], *, alone: bool = False) -> NDArray[np.float32]:
        """Scores of examples; see `Engine.predict`."""
        return self.head(self.trunk.engine.predict(batch, alone=alone))


class SharedParts:
    """Trunks and readers in use, each once; they go with the last model that uses them."""

    def __init__(self) -> None:
        self._trunks: WeakValueDictionary[Hashable, Trunk] = WeakValueDictionary()
        self._readers: WeakValueDictionary[Hashable, InputReader] = WeakValueDictionary()
        self._batch_sizes: dict[Hashable, int] = {}

    @property
    def trunks(self) -> list[Trunk]:
        """Those in use."""
        return list(self._trunks.values())

    def reader(self, spec: InputSpec, *, max_image_pixels: int) -> InputReader:
        """The reader for a bundle's inputs."""
        return _shared(
            self._readers, (spec, max_image_pixels), lambda: input_reader(spec, max_image_pixels=max_image_pixels)
        )

    def engine(self, file: Path, reader: InputReader, options: EngineOptions) -> tuple[Engine, int]:
        """The engine for an exported model, and how many bytes of weights are its own.

        Args:
            file: OpenVINO IR (`.xml`).
            reader: of its inputs.
            options: how to use the machine.
        """
        network = read_network(file)
        parts = split(network)
        if parts is None:
            whole = self._made(partial(read_network, file), architecture_of(network), reader, options)
            return whole, file.with_suffix(".bin").stat().st_size
        read, architecture, weight_bytes = partial(trunk_of, file, parts.cut), parts.architecture, parts.weight_bytes
        padding = reader.spec.pad_id if isinstance(reader.spec, TextSpec) else None
        trunk = _shared(
            self._trunks,
            (parts.digest, reader.row_shape, padding, options),
            lambda: Trunk(self._made(read, architecture, reader, options), weight_bytes),
        )
        return TrunkedEngine(trunk, parts.head), parts.head.weight_bytes

    def _made(
        self, read: ReadNetwork, architecture: str, reader: InputReader, options: EngineOptions
    ) -> OpenVinoEngine:
        """An engine whose best size of a batch is measured once for all networks of an architecture."""
        shape = reader.row_shape
        known = self._batch_sizes.get((architecture, shape, options))
        engine = OpenVinoEngine(read, row_shape=shape, trial=reader.trial(), options=options, batch_size=known)
        self._batch_sizes[architecture, shape, options] = engine.batch_size
        return engine


def _shared(kept: WeakValueDictionary[Hashable, _T], key: Hashable, make: Callable[[], _T]) -> _T:
    found = kept.get(key)
    if found is None:
        found = kept[key] = make()
    return found


def _places(heads: Sequence[Head]) -> dict[Head, list[int]]:
    """At which places each head stands."""
    places: dict[Head, list[int]] = {}
    for place, head in enumerate(heads):
        places.setdefault(head, []).append(place)
    return places
