"""Batches of stored features; rows, weights and order are those that pictures would have had."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftwork_jobs.data.batch_plan import BatchPlan, epoch_rows, epoch_views
from graftwork_jobs.data.tuning import untuned

if TYPE_CHECKING:
    import tensorflow as tf

_PREFETCH_BATCHES = 2


def feature_train_batches(
    views: Sequence[NDArray[np.float32]],
    targets: NDArray[Any],
    plan: BatchPlan,
    *,
    seed: int,
    phase: int,
    epoch: int,
    row_weights: NDArray[np.float32] | None,
    start_step: int = 0,
) -> tf.data.Dataset:
    """One epoch of one worker; like `graftwork_jobs.data.pipeline.train_batches`, with features for pictures.

    Args:
        views: features of the training data, an array of shape (examples, ...) for each view; without random changes
            there is one. Epochs go through an example's views evenly.
        targets: what is to be predicted, shape (examples, ...).
        plan: how global batches are cut up.
        seed: the job's seed.
        phase: 0-based number of the phase.
        epoch: 0-based number of the epoch within the phase.
        row_weights: how much each example counts, shape (examples,); None for 1 throughout.
        start_step: steps to leave out at the beginning.

    Returns:
        Elements: features (rows, ...), targets (rows, ...), weights float32 (rows,).
    """
    part = epoch_rows(len(targets), plan, seed=seed, phase=phase, epoch=epoch, row_weights=row_weights)
    shown = epoch_views(len(targets), len(views), seed=seed, phase=phase, epoch=epoch)
    rows, weights = part.rows[start_step:].reshape(-1), part.weights[start_step:].reshape(-1)
    return _gathered(views, rows, shown[rows], plan.rows_per_rank, targets, weights)


def feature_eval_batches(
    features: NDArray[np.float32], targets: NDArray[Any], *, batch_size: int, rank: int, world: int
) -> tf.data.Dataset:
    """One worker's share of a split, each example exactly once.

    Returns:
        Elements: features (rows, ...) and targets (rows, ...).
    """
    rows = np.arange(rank, len(targets), world)
    return _gathered([features], rows, np.zeros_like(rows), batch_size, targets)


def _gathered(
    views: Sequence[NDArray[np.float32]],
    rows: NDArray[np.int64],
    shown: NDArray[np.int64],
    batch_size: int,
    targets: NDArray[Any],
    *columns: NDArray[np.float32],
) -> tf.data.Dataset:
    import tensorflow as tf

    def gather(batch: tf.Tensor, numbers: tf.Tensor, *others: tf.Tensor) -> tuple[tf.Tensor, ...]:
        values = tf.numpy_function(lambda *chosen: _pick(views, *chosen), [batch, numbers], tf.float32, stateful=False)
        values.set_shape([None, *views[0].shape[1:]])
        return values, *others

    dataset = tf.data.Dataset.from_tensor_slices((rows, shown, targets[rows], *columns)).batch(batch_size)
    return untuned(dataset.map(gather, num_parallel_calls=1, deterministic=True).prefetch(_PREFETCH_BATCHES))


def _pick(
    views: Sequence[NDArray[np.float32]], rows: NDArray[np.int64], shown: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Features of some rows, each from its view, shape (rows, ...)."""
    picked = np.empty((len(rows), *views[0].shape[1:]), np.float32)
    for view, features in enumerate(views):
        chosen = shown == view
        picked[chosen] = features[rows[chosen]]
    return picked
