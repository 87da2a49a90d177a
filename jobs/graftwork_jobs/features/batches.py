"""Batches of stored features; rows, weights and order are those that pictures would have had."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graftwork_jobs.data.batch_plan import BatchPlan, epoch_rows

if TYPE_CHECKING:
    import tensorflow as tf

_PREFETCH_BATCHES = 2


def feature_train_batches(
    features: NDArray[np.float32],
    labels: NDArray[np.int32],
    plan: BatchPlan,
    *,
    seed: int,
    phase: int,
    epoch: int,
    class_weights: NDArray[np.float32] | None,
) -> tf.data.Dataset:
    """One epoch of one worker; like `graftwork_jobs.data.pipeline.train_batches`, with features for pictures.

    Args:
        features: of the training data, shape (examples, ...).
        labels: class numbers, shape (examples,).
        plan: how global batches are cut up.
        seed: the job's seed.
        phase: 0-based number of the phase.
        epoch: 0-based number of the epoch within the phase.
        class_weights: weight of each class; None for 1 throughout.

    Returns:
        Elements: features (rows, ...), class numbers int32 (rows,), weights float32 (rows,).
    """
    part = epoch_rows(labels, plan, seed=seed, phase=phase, epoch=epoch, class_weights=class_weights)
    return _gathered(features, part.rows.reshape(-1), plan.rows_per_rank, labels, part.weights.reshape(-1))


def feature_eval_batches(
    features: NDArray[np.float32], labels: NDArray[np.int32], *, batch_size: int, rank: int, world: int
) -> tf.data.Dataset:
    """One worker's share of a split, each example exactly once.

    Returns:
        Elements: features (rows, ...) and class numbers int32 (rows,).
    """
    return _gathered(features, np.arange(rank, len(labels), world), batch_size, labels)


def _gathered(
    features: NDArray[np.float32],
    rows: NDArray[np.int64],
    batch_size: int,
    labels: NDArray[np.int32],
    *columns: NDArray[np.float32],
) -> tf.data.Dataset:
    import tensorflow as tf

    def gather(batch: tf.Tensor, *others: tf.Tensor) -> tuple[tf.Tensor, ...]:
        values = tf.numpy_function(lambda wanted: features[wanted], [batch], tf.float32, stateful=False)
        values.set_shape([None, *features.shape[1:]])
        return values, *others

    dataset = tf.data.Dataset.from_tensor_slices((rows, labels[rows], *columns)).batch(batch_size)
    return dataset.map(gather, num_parallel_calls=1, deterministic=True).prefetch(_PREFETCH_BATCHES)
