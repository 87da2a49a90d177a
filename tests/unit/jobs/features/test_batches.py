"""Batches of features have the rows and weights that batches of pictures would have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graftwork_jobs.data.batch_plan import BatchPlan, epoch_rows, epoch_views
from graftwork_jobs.features.batches import feature_eval_batches, feature_train_batches

EXAMPLES = 53
RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(EXAMPLES, 3, 2)).astype(np.float32)
LABELS = RANDOM.integers(0, 4, EXAMPLES).astype(np.int32)
ROW_WEIGHTS = np.array([0.5, 1.0, 2.0, 4.0], np.float32)[LABELS]


@pytest.mark.parametrize("row_weights", [None, ROW_WEIGHTS], ids=["equal", "weighted"])
@pytest.mark.parametrize(
    "plan",
    [
        BatchPlan(batch_size=16),
        BatchPlan(batch_size=14, pieces=2, rank=1, world=3),
        BatchPlan(batch_size=14, pieces=2, rank=2, world=3),
        BatchPlan(batch_size=64, rank=0, world=2),
    ],
    ids=str,
)
def test_training_goes_through_the_planned_rows(plan: BatchPlan, row_weights: np.ndarray | None) -> None:
    """Step by step: features, labels and weights of `epoch_rows`, in its order."""
    options: dict[str, Any] = {"seed": 3, "phase": 1, "epoch": 2, "row_weights": row_weights}
    expected = epoch_rows(EXAMPLES, plan, **options)
    steps = list(feature_train_batches([FEATURES], LABELS, plan, **options).as_numpy_iterator())
    assert len(steps) == plan.steps(EXAMPLES) == len(expected.rows)
    for (features, labels, weights), rows, planned in zip(steps, expected.rows, expected.weights, strict=True):
        np.testing.assert_array_equal(features, FEATURES[rows])
        np.testing.assert_array_equal(labels, LABELS[rows])
        np.testing.assert_array_equal(weights, planned)
        assert (features.dtype, labels.dtype, weights.dtype) == (np.float32, np.int32, np.float32)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_evaluation_meets_every_example_once(world: int) -> None:
    """Rank r gets rows r, r + world, ... in order; the last batch is short."""
    for rank in range(world):
        batches = list(feature_eval_batches(FEATURES, LABELS, batch_size=8, rank=rank, world=world).as_numpy_iterator())
        np.testing.assert_array_equal(np.concatenate([features for features, _ in batches]), FEATURES[rank::world])
        np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), LABELS[rank::world])
        assert {len(labels) for _, labels in batches[:-1]} == {8}


def test_features_may_lie_on_disk(tmp_path: Path) -> None:
    """A memory-mapped, read-only array gives the same batches."""
    np.save(tmp_path / "features.npy", FEATURES)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    options: dict[str, Any] = {"seed": 3, "phase": 0, "epoch": 0, "row_weights": None}
    plan = BatchPlan(batch_size=16)
    for (one, *_), (other, *_) in zip(
        feature_train_batches([mapped], LABELS, plan, **options).as_numpy_iterator(),
        feature_train_batches([FEATURES], LABELS, plan, **options).as_numpy_iterator(),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_an_epoch_shows_each_row_the_view_that_is_drawn_for_it() -> None:
    """Features come from the view that `epoch_views` names, on every worker."""
    views = [FEATURES + 100 * view for view in range(3)]
    options: dict[str, Any] = {"seed": 3, "phase": 1, "epoch": 4}
    shown = epoch_views(EXAMPLES, 3, **options)
    plan = BatchPlan(batch_size=14, pieces=2, rank=1, world=2)
    rows = epoch_rows(EXAMPLES, plan, **options, row_weights=None).rows
    steps = feature_train_batches(views, LABELS, plan, **options, row_weights=None).as_numpy_iterator()
    for (features, *_), planned in zip(steps, rows, strict=True):
        np.testing.assert_array_equal(features, np.stack(views)[shown[planned], planned])


def test_nothing_is_tuned_while_features_are_read() -> None:
    """The end of an iterator would wait for the thread that tunes: 5 s after an epoch of 5 s."""
    dataset = feature_eval_batches(FEATURES, LABELS, batch_size=8, rank=0, world=1)
    assert not dataset.map(lambda *columns: columns).options().autotune.enabled
