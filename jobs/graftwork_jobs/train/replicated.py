"""Small tops of a network, such as a head on features: every worker trains on whole batches, and nothing is exchanged.

An exchange of gradients costs a round through all workers however small they are, milliseconds a step, where a head of
ten classes computes for less than one. Repeating the computation is then faster than sharing it, and gives what one
worker gives by construction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graftwork_jobs.model.dropout import first_row

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    from numpy.typing import NDArray

    from graftwork_jobs.distributed.collectives import Collectives
    from graftwork_jobs.distributed.optimizer import BadUpdate
    from graftwork_jobs.train.steps import Steps

# Operations of a step below which it is repeated: about 3 ms of one core.
_SMALL_STEP = 64_000_000
# A weight takes part in a multiplication and an addition on the way forward, and in two of each on the way back.
_OPERATIONS_A_WEIGHT = 6


def is_small(model: keras.Model, rows: int) -> bool:
    """Whether computing a step again on each worker costs less than exchanging it.

    Args:
        model: what trains, fully connected: each weight is used once a row.
        rows: of a micro-batch, over all workers.
    """
    weights = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    return weights * rows * _OPERATIONS_A_WEIGHT <= _SMALL_STEP


class ReplicatedSteps:
    """Steps of a worker that is alone with whole batches, like all others. Meets `graftwork_jobs.train.steps.Steps`."""

    def __init__(self, steps: Steps, collectives: Collectives) -> None:
        """Stand in for other steps.

        Args:
            steps: of one worker.
            collectives: this worker among all.
        """
        self._steps = steps
        self._collectives = collectives

    def batches(self, dataset: tf.data.Dataset) -> Iterator[Any]:
        """Whole batches."""
        return self._steps.batches(dataset)

    def run(self, batches: Iterator[Any], count: int) -> None:
        """On all rows: the first one is the batch's first one on every worker."""
        with first_row(0):
            self._steps.run(batches, count)

    def settle(self) -> None:
        """As one worker does."""
        self._steps.settle()

    def bad_update(self) -> BadUpdate | None:
        """As one worker does."""
        return self._steps.bad_update()

    def count_from(self, counted: Sequence[float]) -> None:
        """Each worker counts all rows."""
        self._steps.count_from(counted)

    def counted(self) -> NDArray[np.float64]:
        """What the first worker counted: decisions follow from it, and other processors may round otherwise."""
        own = np.asarray(self._steps.counted(), np.float64)
        return self._collectives.sum_array(own if self._collectives.rank == 0 else np.zeros_like(own))

    def watched_update(self, batches: Iterator[Any], pieces: int) -> list[NDArray[Any]]:
        """As one worker does."""
        with first_row(0):
            return self._steps.watched_update(batches, pieces)

    def by_one(
        self, inputs: Any, targets: Any, weights: Any, *, first: int
    ) -> tuple[list[NDArray[Any]], NDArray[np.float64]]:
        """As one worker does."""
        return self._steps.by_one(inputs, targets, weights, first=first)
