"""Small tops that every worker trains on whole batches."""

from __future__ import annotations

from typing import Any, cast

import keras
import numpy as np
import pytest

from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.model.dropout import SlicedDropout
from graftwork_jobs.train.replicated import ReplicatedSteps, is_small
from graftwork_jobs.train.steps import Steps
from tests.unit.jobs.distributed.worlds import run_world


def _head(inputs: int, outputs: int) -> keras.Model:
    features = keras.Input((inputs,))
    return keras.Model(features, keras.layers.Dense(outputs)(features))


@pytest.mark.parametrize(
    ("inputs", "outputs", "rows", "small"),
    [(1280, 10, 32, True), (512, 2, 256, True), (2048, 1000, 256, False), (4096, 4096, 32, False)],
)
def test_a_usual_head_is_small_and_a_large_one_is_not(inputs: int, outputs: int, rows: int, small: bool) -> None:
    """By the operations of a step."""
    assert is_small(_head(inputs, outputs), rows) is small


class _Counting:
    """Steps that count what they are told to."""

    def __init__(self, counted: list[float]) -> None:
        self._counted = counted
        self.outputs: list[Any] = []
        # Built for the second of two workers.
        self.dropout = SlicedDropout(0.5, seed=3, rows=8, offset=4)

    def run(self, batches: Any, count: int) -> None:
        for _ in range(count):
            self.outputs.append(np.asarray(self.dropout(next(batches), training=True)))

    def counted(self) -> np.ndarray:
        return np.array(self._counted)


def test_all_workers_take_the_first_ones_counts() -> None:
    """Decisions follow from them, so not even rounding may differ."""

    def work(collectives: Collectives) -> list[float]:
        inner = _Counting([1.0, 2.0 + collectives.rank / 10])
        return list(ReplicatedSteps(cast("Steps", inner), collectives).counted())

    assert run_world(3, work) == [[1.0, 2.0]] * 3


def test_dropout_masks_begin_with_the_first_row() -> None:
    """On whole batches every worker drops what one worker drops."""
    inner, alone = _Counting([]), SlicedDropout(0.5, seed=3, rows=8, offset=0)
    rows = np.ones((8, 5), np.float32)
    ReplicatedSteps(cast("Steps", inner), Collectives(rank=1, world=2)).run(iter([rows]), 1)
    np.testing.assert_array_equal(inner.outputs[0], np.asarray(alone(rows, training=True)))
