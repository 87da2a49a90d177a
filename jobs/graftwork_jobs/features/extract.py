"""Runs a frozen trunk once over every example of a split, all workers together, and keeps the result in the store.

Workers of one machine share its store: each computes every n-th row of what is missing. Machines do not share.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graftwork_jobs.data.index import Split
from graftwork_jobs.data.input_batches import InputBatches
from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.features.phase_cut import PhaseCut
from graftwork_jobs.features.store import FeatureStore, feature_key

if TYPE_CHECKING:
    import keras

_FORMAT_VERSION = 1
_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class NodeShare:
    """This worker among those on its machine.

    Attributes:
        rank: 0 .. world - 1.
        world: workers on this machine.
    """

    rank: int
    world: int


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """Gets features from the store, or computes them into it.

    Attributes:
        store: of this machine.
        collectives: this worker among all.
        node: this worker among those of its machine.
        owner: the run; names unfinished files.
        inputs: what examples are made into.
        tell: takes an event about what was found or computed: kind and fields.
    """

    store: FeatureStore
    collectives: Collectives
    node: NodeShare
    owner: str
    inputs: InputBatches
    tell: Callable[..., None]

    def fits(self, cut: PhaseCut, examples: int) -> bool:
        """Whether the features of that many examples are within every machine's limit; the same on all workers."""
        needed = examples * int(np.prod(cut.shape)) * np.dtype(np.float32).itemsize
        return self._agree(needed <= self.store.limit_bytes)

    def features(self, cut: PhaseCut, split: Split) -> NDArray[np.float32]:
        """Features of a split in its order, memory-mapped, shape (examples, *cut.shape).

        All workers must call it alike.
        """
        key = feature_key(
            {
                "version": _FORMAT_VERSION,
                "trunk": _digest(cut.trunk),
                "image": self.inputs.facts(),
                "pictures": hashlib.sha256("".join(split.digests).encode()).hexdigest(),
            }
        )
        began = time.perf_counter()
        stored = self.store.open(key)
        hit = self._agree(stored is not None)
        if stored is None or not hit:
            stored = self._compute(key, cut, split)
        seconds = time.perf_counter() - began
        self.tell("features", split=split.name, cut=cut.name, examples=len(split), hit=hit, seconds=round(seconds, 3))
        return stored

    def _compute(self, key: str, cut: PhaseCut, split: Split) -> NDArray[np.float32]:
        """Compute an entry on every machine.

        Also on those that have it: the others have to be waited for anyway, and workers of one machine may have found
        different things while another run was committing.
        """
        leader = self.node.rank == 0
        if leader:
            self.store.begin(key, self.owner, (len(split), *cut.shape))
        self._wait()
        path = self.store.unfinished(key, self.owner)
        try:
            self._fill(path, cut, split)
        except BaseException:
            self.store.discard(key, self.owner)
            raise
        self._wait()
        # Mapped before it is committed: from then on other runs may evict it.
        features: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
        self._wait()
        if leader:
            self.store.commit(key, self.owner)
        return features

    def _fill(self, path: Path, cut: PhaseCut, split: Split) -> None:
        import tensorflow as tf

        rows = range(self.node.rank, len(split), self.node.world)
        forward = tf.function(
            lambda inputs: tf.cast(cut.trunk(inputs, training=False), tf.float32),
            input_signature=[self.inputs.signature()],
            autograph=False,
        )
        target = np.load(path, mmap_mode="r+", allow_pickle=False)
        done = 0
        batches = self.inputs.evaluation(split, batch_size=_BATCH, rank=self.node.rank, world=self.node.world)
        for inputs, _ in batches:
            values = forward(inputs).numpy()
            target[rows[done] : rows[done + len(values) - 1] + 1 : self.node.world] = values
            done += len(values)
        target.flush()

    def _agree(self, own: bool) -> bool:  # noqa: FBT001 (a yes or no is what it is about)
        """Whether all workers say yes."""
        votes = self.collectives.sum_array(np.array([int(own)], np.int64))
        return int(votes[0]) == self.collectives.world

    def _wait(self) -> None:
        """Until all workers are here."""
        self._agree(True)


def _digest(trunk: keras.Model) -> str:
    """SHA-256 of what a trunk computes in inference mode: its layers and their weights, not the state of dropout."""
    state = hashlib.sha256(trunk.to_json().encode())
    for weight in trunk.weights:
        state.update(np.ascontiguousarray(weight.numpy()).tobytes())
    return state.hexdigest()
