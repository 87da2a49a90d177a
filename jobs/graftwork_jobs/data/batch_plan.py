"""Which rows of the data go into which step on which worker, with which weight and seed. Pure numbers, no pictures.

The rule that everything here serves: the rows, weights and seeds of a global batch are the same for any number of
workers, and those of an epoch follow from (seed, phase, epoch) alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Number = TypeVar("_Number", bound=np.generic)
# Separate the random streams of augmentation, of stored views and of the choice among them from that of shuffling.
_AUGMENT_STREAM = 1
_VIEW_STREAM = 2
_CHOICE_STREAM = 3
# 4 is that of `mixing`; the other example of a mixed one is changed at random for itself.
_PARTNER_STREAM = 5


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """How global batches are cut up.

    A global batch of `batch_size` rows is cut into `pieces` contiguous micro-batches (gradient accumulation), and each
    of those contiguously over the workers. A step is one micro-batch; `pieces` steps make one weight update.

    Attributes:
        batch_size: rows per weight update, over all workers.
        pieces: micro-batches per weight update; divides `batch_size`.
        rank: this worker, 0-based.
        world: number of workers.
    """

    batch_size: int
    pieces: int = 1
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.pieces < 1 or self.batch_size < 1 or self.batch_size % self.pieces:
            raise ValueError(f"received {self.pieces} pieces of {self.batch_size} rows, expected a divisor")
        if not 0 <= self.rank < self.world:
            raise ValueError(f"received rank {self.rank} of {self.world} workers, expected 0 <= rank < workers")

    @property
    def micro_rows(self) -> int:
        """Rows of a micro-batch, over all workers."""
        return self.batch_size // self.pieces

    @property
    def rows_per_rank(self) -> int:
        """Rows of a micro-batch on each worker, padding included: the static batch size of every step."""
        return math.ceil(self.micro_rows / self.world)

    @property
    def row_offset(self) -> int:
        """Position of this worker's first row within the micro-batch padded to `rows_per_rank * world` rows."""
        return self.rank * self.rows_per_rank

    def updates(self, examples: int) -> int:
        """Weight updates in an epoch over that many examples."""
        return math.ceil(examples / self.batch_size)

    def steps(self, examples: int) -> int:
        """Steps (micro-batches, elements of the data set) in an epoch over that many examples."""
        return self.updates(examples) * self.pieces


@dataclass(frozen=True, kw_only=True, eq=False)
class EpochRows:
    """One worker's part of one epoch, step by step.

    Attributes:
        rows: row numbers in the split, shape (steps, rows_per_rank), int64. Padding repeats a row of the same batch.
        weights: shape (steps, rows_per_rank), float32; 0 for padding.
    """

    rows: NDArray[np.int64]
    weights: NDArray[np.float32]


def epoch_order(examples: int, *, seed: int, phase: int, epoch: int) -> NDArray[np.int64]:
    """The order in which an epoch goes through the rows: a permutation that depends on nothing but the arguments."""
    return np.random.default_rng([seed, phase, epoch]).permutation(examples)


def epoch_rows(
    examples: int,
    plan: BatchPlan,
    *,
    seed: int,
    phase: int,
    epoch: int,
    row_weights: NDArray[np.float32] | None,
) -> EpochRows:
    """Lay out one epoch for one worker.

    The weights make the mean over steps of an update and over workers of Keras' `sum_over_batch_size` loss equal
    sum(row weight * loss) / (valid rows) of the global batch.

    Args:
        examples: size of the split.
        plan: how batches are cut up.
        seed: the job's seed.
        phase: 0-based number of the phase.
        epoch: 0-based number of the epoch within the phase.
        row_weights: how much each example counts, shape (examples,); None for 1 throughout.
    """
    updates = plan.updates(examples)
    order = epoch_order(examples, seed=seed, phase=phase, epoch=epoch)
    position = np.arange(updates * plan.batch_size).reshape(updates, plan.batch_size)
    valid = position < examples
    # Padding repeats the batch's first row, which always exists.
    rows = order[np.where(valid, position, position[:, :1])]
    weights = valid.astype(np.float64)
    if row_weights is not None:
        weights *= row_weights[rows]
    scale = plan.world * plan.pieces * plan.rows_per_rank / valid.sum(axis=1, keepdims=True)
    return EpochRows(
        rows=_share(rows, rows[:, :1], plan),
        weights=_share(weights * scale, np.zeros((updates, 1)), plan).astype(np.float32),
    )


def _share(values: NDArray[_Number], padding: NDArray[_Number], plan: BatchPlan) -> NDArray[_Number]:
    """Cut (updates, batch_size) values into micro-batches and take this worker's rows: (steps, rows_per_rank)."""
    micro = values.reshape(-1, plan.micro_rows)
    missing = plan.rows_per_rank * plan.world - plan.micro_rows
    filler = np.repeat(np.repeat(padding, plan.pieces, axis=0), missing, axis=1)
    padded = np.concatenate([micro, filler], axis=1)
    return padded[:, plan.row_offset : plan.row_offset + plan.rows_per_rank]


def augmentation_seeds(rows: NDArray[np.int64], *, seed: int, phase: int, epoch: int) -> NDArray[np.int32]:
    """Seeds for random image changes: one pair an example, the same whatever worker or batch the example is in.

    Returns:
        Shape (*rows.shape, 2), int32, for `tf.random.stateless_*` and Keras' functional `seed` arguments.
    """
    return _pairs(rows, [seed, phase, epoch, _AUGMENT_STREAM])


def partner_seeds(rows: NDArray[np.int64], *, seed: int, phase: int, epoch: int) -> NDArray[np.int32]:
    """The same for examples that others are mixed with, beside their own turn."""
    return _pairs(rows, [seed, phase, epoch, _PARTNER_STREAM])


def view_seeds(rows: NDArray[np.int64], *, seed: int, view: int) -> NDArray[np.int32]:
    """Seeds of one stored view of each example: the same in every phase, epoch and run.

    Args:
        rows: row numbers.
        seed: the job's seed.
        view: 0-based number of the view.

    Returns:
        As `augmentation_seeds`.
    """
    return _pairs(rows, [seed, view, 0, _VIEW_STREAM])


def epoch_views(examples: int, views: int, *, seed: int, phase: int, epoch: int) -> NDArray[np.int64]:
    """Which of its stored views each example shows in an epoch, shape (examples,).

    Every example goes through its views in an order of its own and sees each once before any a second time.

    Args:
        examples: size of the split.
        views: how many each has.
        seed: the job's seed.
        phase: 0-based number of the phase.
        epoch: 0-based number of the epoch within the phase.
    """
    turn, position = divmod(epoch, views)
    random = np.random.default_rng([seed, phase, turn, _CHOICE_STREAM])
    orders = random.permuted(np.tile(np.arange(views), (examples, 1)), axis=1)
    return np.ascontiguousarray(orders[:, position])


def _pairs(rows: NDArray[np.int64], entropy: list[int]) -> NDArray[np.int32]:
    """SplitMix64 of the row number, started from a random state of its own.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    start = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is meant
        mixed = start + (rows.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    pairs = np.stack([mixed >> np.uint64(32), mixed & np.uint64(0xFFFFFFFF)], axis=-1)
    return pairs.astype(np.uint32).view(np.int32)
