"""Batches of stored features; rows, weights and order are those that pictures would have had."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftwork_jobs.data.batch_plan import BatchPlan, epoch_rows

if TYPE_CHECKING:
    import tensorflow as tf

_PREFETCH_BATCHES = 2


def feature_train_batches(
    features: NDArray[np.float32],
    targets: NDArray[Any],
    plan: BatchPlan,
    *,
    seed: int,
    phase: int,
    epoch: int,
    row_weights: NDArray[np.float32] | None,
) -> tf.data.Dataset:
    """One epoch of one worker; like `graftwork_jobs.data.pipeline.train_batches`, with features for pictures.

    Args:
        features: of the training data, shape (examples, ...).
        targets: what is to be predicted, shape (examples, ...).
        plan: how global batches are cut up.
        seed: the job's seed.
        phase: 0-based number of the phase.
        epoch: 0-based number of the epoch within the phase.
        row_weights: how much each example counts, shape (examples,); None for 1 throughout.

    Returns:
        Elements: features (rows, ...), targets (rows, ...), weights float32 (rows,).
    """
    part = epoch_rows(len(targets), plan, seed=seed, phase=phase, epoch=epoch, row_weights=row_weights)
    return _gathered(features, part.rows.reshape(-1), plan.rows_per_rank, targets, part.weights.reshape(-1))


def feature_eval_batches(
    features: NDArray[np.float32], targets: NDArray[Any], *, batch_size: int, rank: int, world: int
) -> tf.data.Dataset:
    """One worker's share of a split, each example exactly once.

    Returns:
        Elements: features (rows, ...) and targets (rows, ...).
    """
    return _gathered(features, np.arange(rank, len(targets), world), batch_size, targets)


def _gathered(
    features: NDArray[np.float32],
    rows: NDArray[np.int64],
    batch_size: int,
    targets: NDArray[Any],
    *columns: NDArray[np.float32],
) -> tf.data.Dataset:
    import tensorflow as tf

    def gather(batch: tf.Tensor, *others: tf.Tensor) -> tuple[tf.Tensor, ...]:
        values = tf.numpy_function(lambda wanted: features[wanted], [batch], tf.float32, stateful=False)
        values.set_shape([None, *features.shape[1:]])
        return values, *others

    dataset = tf.data.Dataset.from_tensor_slices((rows, targets[rows], *columns)).batch(batch_size)
    return dataset.map(gather, num_parallel_calls=1, deterministic=True).prefetch(_PREFETCH_BATCHES)
