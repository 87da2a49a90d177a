"""Runs a frozen trunk once over every example of a split, all workers together, and keeps the result in the store.

Workers of one machine share its store: each computes every n-th row of what is missing. Machines do not share.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftwork_jobs.data.index import Split
from graftwork_jobs.data.input_batches import InputBatches
from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.features.engine import Engine, choose_engine, default_engine
from graftwork_jobs.features.phase_cut import PhaseCut
from graftwork_jobs.features.store import DamagedEntryError, FeatureStore, feature_key
from graftwork_jobs.one_ahead import one_ahead

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_FORMAT_VERSION = 2
_BATCH = 64
# The first one also pays for compiling.
_TIMED_BATCH = 1


@dataclass(frozen=True, kw_only=True)
class NodeShare:
    """This worker among those on its machine.

    Attributes:
        rank: 0 .. world - 1.
        world: workers on this machine.
        machine: which of the run's machines, 0 for the first. Several may keep their features on one shared volume.
    """

    rank: int
    world: int
    machine: int = 0


@dataclass(frozen=True, kw_only=True)
class Views:
    """Which randomly changed versions of the examples to keep.

    Attributes:
        count: how many of each example.
        seed: the job's seed.
    """

    count: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """An entry.

    Attributes:
        key: its name.
        view: number of the view; None for examples as they are.
        seed: the job's seed, where there is a view.
    """

    key: str
    view: int | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class _Computed:
    """Entries just computed, and what ran the trunk."""

    arrays: tuple[NDArray[np.float32], ...]
    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """Gets features from the store, or computes them into it.

    Attributes:
        store: of this machine; machines may have one together.
        collectives: this worker among all.
        node: this worker among those of its machine.
        run: names unfinished files, together with the machine.
        inputs: what examples are made into.
        tell: takes an event about what was found or computed: kind and fields.
        pulse: called after each batch.
        engines: what has run the trunk of each cut; compiled once for all splits.
    """

    store: FeatureStore
    collectives: Collectives
    node: NodeShare
    run: str
    inputs: InputBatches
    tell: Callable[..., None]
    pulse: Callable[[], None]
    engines: dict[PhaseCut, Engine] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        """Whose unfinished files are whose: the workers of one machine write an entry together."""
        return f"{self.run}.{self.node.machine}"

    def fits(self, cut: PhaseCut, examples: int) -> bool:
        """Whether the features of that many examples are within every machine's limit; the same on all workers."""
        return self._agree(cut.bytes_of(examples) <= self.store.limit_bytes)

    def features(self, cut: PhaseCut, split: Split, *, phase: str) -> NDArray[np.float32]:
        """Features of a split in its order, memory-mapped, shape (examples, *cut.shape).

        All workers must call it alike.

        Args:
            cut: whose trunk.
            split: whose examples.
            phase: name of the phase that asks, for the event.
        """
        key = feature_key(self._facts(cut, split))
        return self._entries(cut, split, [_Wanted(key=key)], phase)[0]

    def views(self, cut: PhaseCut, split: Split, views: Views, *, phase: str) -> tuple[NDArray[np.float32], ...]:
        """Features of randomly changed examples, a memory-mapped array for each view.

        All workers must call it alike. A view depends on the job's seed and its number alone, so phases and runs that
        want more or fewer views share those they have in common.

        Args:
            cut: whose trunk.
            split: whose examples.
            views: which.
            phase: name of the phase that asks, for the event.
        """
        facts = {**self._facts(cut, split), "input": self.inputs.view_facts()}
        wanted = [
            _Wanted(key=feature_key({**facts, "seed": views.seed, "view": view}), view=view, seed=views.seed)
            for view in range(views.count)
        ]
        return tuple(self._entries(cut, split, wanted, phase))

    def _facts(self, cut: PhaseCut, split: Split) -> dict[str, Any]:
        """What decides the features of a split, besides the view."""
        return {
            "version": _FORMAT_VERSION,
            "trunk": _digest(cut.trunk),
            "input": self.inputs.facts(),
            "examples": hashlib.sha256("".join(split.digests).encode()).hexdigest(),
        }

    def _entries(self, cut: PhaseCut, split: Split, wanted: Sequence[_Wanted], phase: str) -> list[NDArray[np.float32]]:
        """Entries from the store; those that any worker lacks are computed, all in one pass over the examples."""
        began = time.perf_counter()
        stored = [self._stored(each.key, split) for each in wanted]
        votes = self.collectives.sum_array(np.array([int(entry is not None) for entry in stored], np.int64))
        missing = [each for each, found in zip(wanted, votes, strict=True) if found < self.collectives.world]
        engine = self._compute(missing, cut, split) if missing else None
        computed = dict(zip((each.key for each in missing), engine.arrays if engine else (), strict=True))
        entries = [computed.get(each.key, entry) for each, entry in zip(wanted, stored, strict=True)]
        features = [entry for entry in entries if entry is not None]
        self.tell(
            "features",
            phase=phase,
            split=split.name,
            cut=cut.name,
            examples=len(split),
            views=sum(each.view is not None for each in wanted),
            entries=len(wanted),
            hits=len(wanted) - len(missing),
            hit=not missing,
            bytes=sum(entry.nbytes for entry in features),
            seconds=round(time.perf_counter() - began, 3),
            engine=engine.name if engine else None,
            engine_reason=engine.reason if engine else None,
        )
        return features

    def _stored(self, key: str, split: Split) -> NDArray[np.float32] | None:
        """An entry, looked through by one worker of each machine; None if there is none, or a damaged one."""
        try:
            return self.store.open(key, verify=self.node.rank == 0)
        except DamagedEntryError as error:
            self.tell(
                "warning",
                message=f"the stored features of the {split.name} data are damaged ({error}); they are computed again",
            )
            return None

    def _compute(self, missing: Sequence[_Wanted], cut: PhaseCut, split: Split) -> _Computed:
        """Compute entries on every machine.

        Also on those that have them: the others have to be waited for anyway, and workers of one machine may have found
        different things while another run was committing.
        """
        leader = self.node.rank == 0
        if leader:
            for each in missing:
                self.store.begin(each.key, self.owner, (len(split), *cut.shape))
        self._wait()
        paths = [self.store.unfinished(each.key, self.owner) for each in missing]
        try:
            engine = self._fill(paths, missing, cut, split)
        except BaseException:
            for each in missing:
                self.store.discard(each.key, self.owner)
            raise
        self._wait()
        # Mapped before they are committed: from then on other runs may evict them.
        arrays = tuple(np.load(path, mmap_mode="r", allow_pickle=False) for path in paths)
        self._wait()
        if leader:
            for each in missing:
                self.store.commit(each.key, self.owner)
        return _Computed(arrays=arrays, name=engine.name, reason=engine.reason)

    def _fill(self, paths: Sequence[Path], missing: Sequence[_Wanted], cut: PhaseCut, split: Split) -> Engine:
        """Compute this worker's rows of unfinished entries."""
        if cut not in self.engines:
            self.engines[cut] = default_engine(cut.trunk, self.inputs.signature())
        targets = [np.load(path, mmap_mode="r+", allow_pickle=False) for path in paths]
        rows, done = range(self.node.rank, len(split), self.node.world), 0
        for values in map(np.asarray, one_ahead(self._outputs(missing, cut, split))):
            examples = len(values) // len(missing)
            part = slice(rows[done], rows[done + examples - 1] + 1, self.node.world)
            for position, target in enumerate(targets):
                target[part] = values[position :: len(missing)]
            done += examples
            self.pulse()
        for target in targets:
            target.flush()
        return self.engines[cut]

    def _outputs(self, missing: Sequence[_Wanted], cut: PhaseCut, split: Split) -> Iterator[Any]:
        """Outputs of this worker's batches, which may still be computed; the engine may change on the way."""
        # The same on all workers, which decide together: what the one with the fewest rows has.
        batches = len(split) // self.collectives.world // self._examples_at_once(missing)
        for number, inputs in enumerate(self._batches(missing, split)):
            engine, began = self.engines[cut], time.perf_counter()
            values = engine.forward(inputs)
            if number == _TIMED_BATCH and batches > number + 1 and not engine.is_chosen:
                self.engines[cut] = choose_engine(
                    engine,
                    cut.trunk,
                    self.inputs.signature(),
                    inputs,
                    seconds=time.perf_counter() - began,
                    batches_left=batches - number - 1,
                    collectives=self.collectives,
                )
            yield values

    def _batches(self, missing: Sequence[_Wanted], split: Split) -> Iterator[tf.Tensor]:
        """Inputs of this worker's rows; with several views, those of an example follow each other."""
        views = [(each.seed, each.view) for each in missing if each.view is not None]
        options = {"rank": self.node.rank, "world": self.node.world}
        if not views:
            for inputs, _ in self.inputs.evaluation(split, batch_size=_BATCH, **options):
                yield inputs
            return
        yield from self.inputs.views(split, views, batch_size=self._examples_at_once(missing), **options)

    def _examples_at_once(self, missing: Sequence[_Wanted]) -> int:
        return max(1, _BATCH // len(missing))

    def _agree(self, own: bool) -> bool:  # noqa: FBT001 (a yes or no is what it is about)
        """Whether all workers say yes."""
        votes = self.collectives.sum_array(np.array([int(own)], np.int64))
        return int(votes[0]) == self.collectives.world

    def _wait(self) -> None:
        """Until all workers are here."""
        self._agree(True)


def _digest(trunk: keras.Model) -> str:
    """SHA-256 of what a trunk computes in inference mode: its layers and their weights, not the state of dropout.

    The same with and without adapters: in a trunk they change nothing.
    """
    from graftwork_jobs.model.adapters import plain_weights, without_adapter
    from graftwork_jobs.model.dropout import stock_dropout

    document = json.loads(trunk.to_json())
    # Which rows of a batch a worker drops is no part of what a frozen layer computes.
    document["config"]["layers"] = [without_adapter(stock_dropout(layer)) for layer in document["config"]["layers"]]
    state = hashlib.sha256(json.dumps(document).encode())
    for weight in plain_weights(trunk):
        state.update(np.ascontiguousarray(weight.numpy()).tobytes())
    return state.hexdigest()
