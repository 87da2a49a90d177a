"""Batches of token ids: texts tokenized once, gathered and filled up batch by batch.

A batch is as long as the longest text of the *global* batch, rounded up to a multiple of 16: the same for every worker,
so that results do not depend on how many there are, and with few different shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftwork.errors import PermanentError
from graftwork.preprocess.text import TextError, TextReader, TextSpec, batch_length
from graftwork_jobs.data.batch_plan import BatchPlan, epoch_order, epoch_rows
from graftwork_jobs.data.index import Split
from graftwork_jobs.data.tuning import untuned

if TYPE_CHECKING:
    import tensorflow as tf

    from graftwork_jobs.data.input_batches import EpochSeed

_PREFETCH_BATCHES = 2
_CHUNK = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenTable:
    """Token ids of all texts of a split.

    Attributes:
        ids: of one text after another, shape (all tokens,), int32.
        starts: where each text begins, and where the last one ends, shape (texts + 1,), int64.
        truncated: texts that were cut off.
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    truncated: int

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text."""
        return np.diff(self.starts)

    def rows(self, wanted: NDArray[np.int64]) -> list[NDArray[np.int32]]:
        """Token ids of some texts."""
        return [self.ids[self.starts[row] : self.starts[row + 1]] for row in wanted]


def tokenize(texts: tuple[str, ...], reader: TextReader) -> TokenTable:
    """Token ids of texts, in their order.

    Raises:
        PermanentError: a text cannot be tokenized, though the scan found it sound.
    """
    parts: list[NDArray[np.int32]] = []
    truncated = 0
    for start in range(0, len(texts), _CHUNK):
        try:
            chunk = reader.read(texts[start : start + _CHUNK])
        except TextError as error:
            raise PermanentError(f"The texts cannot be tokenized: {error}. Plan the job again.") from error
        parts.extend(text.ids for text in chunk)
        truncated += sum(text.is_truncated for text in chunk)
    starts = np.concatenate([[0], np.cumsum([len(part) for part in parts], dtype=np.int64)])
    ids = np.concatenate(parts) if parts else np.zeros(0, np.int32)
    return TokenTable(ids=ids, starts=starts, truncated=truncated)


@dataclass(frozen=True, kw_only=True)
class TextBatches:
    """Token ids, int32, shape (rows, tokens); an `InputBatches`.

    Attributes:
        text: what texts are brought to.
    """

    text: TextSpec
    _tables: dict[str, TokenTable] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def is_random(self) -> bool:
        """Texts are the same in every epoch."""
        return False

    def facts(self) -> dict[str, Any]:
        """The tokenizer and where it cuts off."""
        return {"text": self.text.digest}

    def view_facts(self) -> dict[str, Any]:
        """The same: texts have one view."""
        return self.facts()

    def signature(self) -> tf.TensorSpec:
        """Of a batch of token ids."""
        import tensorflow as tf

        return tf.TensorSpec([None, None], tf.int32)

    def training(
        self,
        split: Split,
        plan: BatchPlan,
        epoch: EpochSeed,
        *,
        row_weights: NDArray[np.float32] | None,
        start_step: int = 0,
    ) -> tf.data.Dataset:
        """One epoch of token ids."""
        table, reader = self.table(split), TextReader(self.text)
        where = {"seed": epoch.seed, "phase": epoch.phase, "epoch": epoch.epoch}
        part = epoch_rows(len(split), plan, **where, row_weights=row_weights)
        columns = global_lengths(table.lengths[epoch_order(len(split), **where)], plan, self.text.max_tokens)

        def step(number: int) -> tuple[NDArray[Any], ...]:
            rows = part.rows[number]
            ids = reader.stack(table.rows(rows), length=int(columns[number]))
            return ids, split.targets[rows], part.weights[number]

        columns_of = (split.targets, part.weights.reshape(-1))
        return _dataset(range(start_step, len(part.rows)), step, columns_of, rows=plan.rows_per_rank)

    def evaluation(self, split: Split, *, batch_size: int, rank: int, world: int) -> tf.data.Dataset:
        """This worker's share of a split of texts."""
        table, reader = self.table(split), TextReader(self.text)
        rows = np.arange(rank, len(split), world)
        batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]

        def step(number: int) -> tuple[NDArray[Any], ...]:
            return reader.stack(table.rows(batches[number])), split.targets[batches[number]]

        return _dataset(range(len(batches)), step, (split.targets,), rows=None)

    def views(
        self, split: Split, views: Sequence[tuple[int, int]], *, batch_size: int, rank: int, world: int
    ) -> Iterable[tf.Tensor]:
        """Texts are not changed at random."""
        raise ValueError("received a wish for views, expected a job with augmentation")

    def table(self, split: Split) -> TokenTable:
        """Token ids of a split, made when they are first asked for."""
        if split.name not in self._tables:
            self._tables[split.name] = tokenize(split.inputs, TextReader(self.text))
        return self._tables[split.name]


def global_lengths(lengths: NDArray[np.int64], plan: BatchPlan, max_tokens: int) -> NDArray[np.int64]:
    """Columns of every step of an epoch, the same on all workers.

    Args:
        lengths: tokens of each text in the order of the epoch.
        plan: how global batches are cut up.
        max_tokens: most columns.
    """
    longest = np.maximum.reduceat(lengths, np.arange(0, len(lengths), plan.batch_size))
    columns = np.array([batch_length(int(each), max_tokens) for each in longest], dtype=np.int64)
    return np.repeat(columns, plan.pieces)


def _dataset(
    steps: range,
    make: Callable[[int], tuple[NDArray[Any], ...]],
    columns: tuple[NDArray[Any], ...],
    *,
    rows: int | None,
) -> tf.data.Dataset:
    """Batches made one after another; the first column is token ids, the types of the others are those of `columns`."""
    import tensorflow as tf

    types = [tf.int32, *(tf.as_dtype(column.dtype) for column in columns)]

    def element(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
        tensors = tf.numpy_function(make, [number], types, stateful=False)
        tensors[0].set_shape([rows, None])
        for tensor, column in zip(tensors[1:], columns, strict=True):
            tensor.set_shape([rows, *column.shape[1:]])
        return tuple(tensors)

    dataset = tf.data.Dataset.range(steps.start, steps.stop).map(element, num_parallel_calls=1, deterministic=True)
    return untuned(dataset.prefetch(_PREFETCH_BATCHES))
