"""Exact figures over a whole split, each example counted once, whatever the number of workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import keras
import numpy as np

from graftwork.spec.fine_tune_job import Mirror
from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.model.forward import compiled_forward, one_program
from graftwork_jobs.model.mirror import count_of, versions
from graftwork_jobs.one_ahead import one_ahead
from graftwork_jobs.targets.base import Target
from graftwork_jobs.train.objective import example_columns

if TYPE_CHECKING:
    import tensorflow as tf
    from numpy.typing import NDArray


def figures_of(sums: NDArray[np.float64], target: Target) -> dict[str, float]:
    """The loss and the target's figures.

    Args:
        sums: of losses, tallies and rows, over all workers, shape (tally_size + 2,).
        target: what is predicted.
    """
    loss, *tallies, rows = sums.tolist()
    return {"loss": loss / rows, **target.figures(np.asarray(tallies, np.float64), rows)}


class Evaluator:
    """Runs a network in inference mode over one worker's share of a split. Survives changes of weights and phases."""

    def __init__(self, network: keras.Model, target: Target, collectives: Collectives) -> None:
        self._target = target
        self._collectives = collectives
        self._outputs = compiled_forward(network)
        self._columns = one_program(lambda targets, outputs: example_columns(target, targets, outputs))

    def figures(self, batches: tf.data.Dataset, *, pulse: Callable[[], None]) -> dict[str, float]:
        """Loss and the target's figures over the whole split.

        Args:
            batches: this worker's share, elements (inputs, targets).
            pulse: called after each batch.
        """
        sums = np.zeros(self._target.tally_size + 2, np.float64)
        begun = (self._columns(np.asarray(targets), self._outputs(inputs)) for inputs, targets in batches)
        for columns in one_ahead(begun):
            sums += np.asarray(columns).sum(axis=0, dtype=np.float64)
            pulse()
        return figures_of(self._collectives.sum_array(sums), self._target)

    def predictions(
        self,
        batches: tf.data.Dataset,
        *,
        examples: int,
        pulse: Callable[[], None],
        mirror: Mirror | None = None,
    ) -> NDArray[np.float32]:
        """Predictions of every example of the whole split, the same on every worker.

        Args:
            batches: this worker's share (rows rank, rank + world, ...), elements (inputs, targets).
            examples: size of the whole split.
            pulse: called after each batch.
            mirror: mirror images of the pictures to predict, too.

        Returns:
            Shape (versions, examples, names), float32, in the split's order; the first version is the example as it is.
        """
        own = []
        begun = (
            [self._target.predictions(self._outputs(each)) for each in versions(np.asarray(inputs), mirror)]
            for inputs, _ in batches
        )
        for answers in one_ahead(begun):
            own.append(np.stack([np.asarray(each) for each in answers]))
            pulse()
        predictions = np.zeros((count_of(mirror), examples, len(self._target.names)), np.float32)
        if own:
            predictions[:, self._collectives.rank :: self._collectives.world] = np.concatenate(own, axis=1)
        return self._collectives.sum_array(predictions)
