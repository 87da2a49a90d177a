"""Which rows, weights and seeds a step has: the same for any number of workers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from graftwork_jobs.data.batch_plan import (
    BatchPlan,
    augmentation_seeds,
    epoch_order,
    epoch_rows,
    epoch_views,
    view_seeds,
)

CLASSES = 3


@st.composite
def layouts(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """Examples, batch size, pieces, workers."""
    pieces = draw(st.integers(1, 4))
    micro = draw(st.integers(1, 9))
    return draw(st.integers(1, 60)), pieces * micro, pieces, draw(st.integers(1, 5))


def labels_of(examples: int) -> NDArray[np.int32]:
    return (np.arange(examples) % CLASSES).astype(np.int32)


def all_ranks(
    examples: int, batch_size: int, pieces: int, world: int, class_weights: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows and weights of all workers, shape (workers, steps, rows_per_rank)."""
    parts = [
        epoch_rows(
            examples,
            BatchPlan(batch_size=batch_size, pieces=pieces, rank=rank, world=world),
            seed=3,
            phase=1,
            epoch=2,
            row_weights=None if class_weights is None else class_weights[labels_of(examples)],
        )
        for rank in range(world)
    ]
    return np.stack([part.rows for part in parts]), np.stack([part.weights for part in parts])


@given(layouts())
def test_each_example_counts_exactly_once_an_epoch(layout: tuple[int, int, int, int]) -> None:
    """Over all workers and steps, rows with a weight above zero are a permutation of the examples."""
    rows, weights = all_ranks(*layout)
    assert sorted(rows[weights > 0].tolist()) == list(range(layout[0]))


@given(layouts())
def test_workers_together_have_the_global_micro_batch(layout: tuple[int, int, int, int]) -> None:
    """The workers' valid rows, one rank after the other, are one worker's valid rows, in the same order."""
    rows, weights = all_ranks(*layout)
    examples, batch_size, pieces, _ = layout
    alone_rows, alone_weights = all_ranks(examples, batch_size, pieces, 1)
    for step in range(rows.shape[1]):
        together = rows[:, step][weights[:, step] > 0]
        alone = alone_rows[0, step][alone_weights[0, step] > 0]
        np.testing.assert_array_equal(together, alone)


@given(layouts())
def test_averaged_keras_loss_is_the_mean_of_the_global_batch(layout: tuple[int, int, int, int]) -> None:
    """Keras' mean of weight * loss, averaged over workers and pieces, is sum(class weight * loss) / valid rows."""
    examples, batch_size, pieces, world = layout
    class_weights = np.array([0.5, 1.0, 2.5], dtype=np.float32)
    rows, weights = all_ranks(examples, batch_size, pieces, world, class_weights)
    losses = np.random.default_rng(5).uniform(0, 4, examples)
    keras_loss = (weights * losses[rows]).mean(axis=2)
    per_update = keras_loss.mean(axis=0).reshape(-1, pieces).mean(axis=1)
    order = epoch_order(examples, seed=3, phase=1, epoch=2)
    for update, loss in enumerate(per_update):
        batch = order[update * batch_size : (update + 1) * batch_size]
        expected = (class_weights[labels_of(examples)[batch]] * losses[batch]).sum() / len(batch)
        assert loss == pytest.approx(expected, rel=1e-5)


@given(layouts())
def test_all_workers_take_the_same_static_steps(layout: tuple[int, int, int, int]) -> None:
    """Every worker has `steps` steps of `rows_per_rank` rows, all of them rows that exist."""
    examples, batch_size, pieces, world = layout
    rows, weights = all_ranks(*layout)
    plan = BatchPlan(batch_size=batch_size, pieces=pieces, rank=0, world=world)
    assert rows.shape == weights.shape == (world, plan.steps(examples), plan.rows_per_rank)
    assert rows.min() >= 0
    assert rows.max() < examples


def test_padding_repeats_the_first_row_of_the_batch() -> None:
    """A short last batch is filled up with its own first row."""
    part = epoch_rows(5, BatchPlan(batch_size=4), seed=0, phase=0, epoch=0, row_weights=None)
    assert part.rows[1].tolist() == [part.rows[1, 0]] * 4
    assert part.weights[1].tolist() == [4.0, 0.0, 0.0, 0.0]


def test_order_depends_on_seed_phase_and_epoch_only() -> None:
    """The same numbers give the same order; changing any of them gives another."""
    first = epoch_order(50, seed=1, phase=2, epoch=3)
    np.testing.assert_array_equal(first, epoch_order(50, seed=1, phase=2, epoch=3))
    for other in (
        {"seed": 2, "phase": 2, "epoch": 3},
        {"seed": 1, "phase": 3, "epoch": 2},
        {"seed": 1, "phase": 2, "epoch": 4},
    ):
        assert (epoch_order(50, **other) != first).any()


def test_augmentation_seeds_belong_to_the_example() -> None:
    """A row's seed does not depend on which other rows are asked for, and rows, epochs and phases differ."""
    together = augmentation_seeds(np.arange(1000), seed=1, phase=0, epoch=0)
    alone = augmentation_seeds(np.array([437]), seed=1, phase=0, epoch=0)
    np.testing.assert_array_equal(together[437], alone[0])
    assert len({tuple(pair) for pair in together.tolist()}) == 1000
    for other in (
        {"seed": 2, "phase": 0, "epoch": 0},
        {"seed": 1, "phase": 1, "epoch": 0},
        {"seed": 1, "phase": 0, "epoch": 1},
    ):
        assert (augmentation_seeds(np.arange(1000), **other) != together).any(axis=1).all()


def test_row_offset_is_where_the_worker_starts_in_the_padded_micro_batch() -> None:
    """Offsets of all workers tile the padded micro-batch."""
    plans = [BatchPlan(batch_size=20, pieces=2, rank=rank, world=3) for rank in range(3)]
    assert [plan.row_offset for plan in plans] == [0, 4, 8]
    assert {plan.rows_per_rank for plan in plans} == {4}


@pytest.mark.parametrize(
    "fields", [{"batch_size": 5, "pieces": 2}, {"batch_size": 4, "rank": 2, "world": 2}, {"batch_size": 0}]
)
def test_impossible_plans_are_refused(fields: dict[str, int]) -> None:
    """Pieces must divide the batch, and the rank must be one of the workers."""
    with pytest.raises(ValueError, match="received"):
        BatchPlan(**fields)


@given(examples=st.integers(1, 40), views=st.integers(1, 9), turn=st.integers(0, 5))
def test_every_example_goes_through_its_views_evenly(examples: int, views: int, turn: int) -> None:
    """Within each turn of as many epochs as there are views, every row shows every view once."""
    epochs = range(turn * views, (turn + 1) * views)
    shown = np.stack([epoch_views(examples, views, seed=3, phase=1, epoch=epoch) for epoch in epochs])
    np.testing.assert_array_equal(np.sort(shown, axis=0), np.tile(np.arange(views)[:, None], (1, examples)))


def test_the_choice_of_views_depends_on_seed_phase_and_epoch() -> None:
    """The same arguments give the same choice; rows of one epoch show different views; turns have other orders."""
    chosen = epoch_views(200, 4, seed=3, phase=1, epoch=0)
    np.testing.assert_array_equal(chosen, epoch_views(200, 4, seed=3, phase=1, epoch=0))
    assert set(chosen) == {0, 1, 2, 3}
    for other in ({"seed": 4}, {"phase": 0}, {"epoch": 1}, {"epoch": 4}):
        assert (chosen != epoch_views(200, 4, **{"seed": 3, "phase": 1, "epoch": 0, **other})).any(), other


def test_view_seeds_differ_by_row_view_and_seed_and_from_those_of_epochs() -> None:
    """No two versions of a picture are the same, nor is a version that of another picture."""
    rows = np.arange(500)
    drawn = [view_seeds(rows, seed=seed, view=view) for seed in (3, 4) for view in range(4)]
    drawn += [augmentation_seeds(rows, seed=3, phase=phase, epoch=epoch) for phase in (0, 1) for epoch in (0, 1)]
    pairs = {tuple(pair) for seeds in drawn for pair in seeds.tolist()}
    assert len(pairs) == len(drawn) * len(rows)
    np.testing.assert_array_equal(view_seeds(rows[[7]], seed=3, view=2)[0], drawn[2][7])
