"""Training steps on TensorFlow: Keras' own compiled step on this worker's rows; the optimizer averages gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from graftwork_jobs.distributed.collectives import Collectives, alone
from graftwork_jobs.distributed.gradient_tap import GradientTap, Tap
from graftwork_jobs.distributed.optimizer import BadUpdate, bad_update
from graftwork_jobs.model.dropout import first_row
from graftwork_jobs.train.objective import BatchLoss, Tally, TrainingModel, batch_sums

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    from numpy.typing import NDArray

    from graftwork_jobs.targets.base import Target


class TensorFlowSteps:
    """Meets `graftwork_jobs.train.steps.Steps`."""

    def __init__(
        self,
        model: TrainingModel,
        optimizer: keras.optimizers.Optimizer,
        target: Target,
        collectives: Collectives,
        tap: Tap | None = None,
        *,
        run_eagerly: bool = False,
    ) -> None:
        self._model = model
        self._target = target
        self._collectives = collectives
        self._tap = tap
        self._tally = Tally(target)
        # XLA makes CPU steps slower by an order of magnitude, and knows no collectives between processes.
        model.compile(
            optimizer=optimizer,
            loss=BatchLoss(target),
            weighted_metrics=[self._tally],
            run_eagerly=run_eagerly,
            jit_compile=False,
        )
        self._run = _one_by_one(model) if run_eagerly else _compiled(model)

    def batches(self, dataset: tf.data.Dataset) -> Iterator[Any]:
        """As TensorFlow's own iterator: the compiled step draws from it."""
        return iter(dataset)

    def run(self, batches: Iterator[Any], count: int) -> None:
        """One call of the compiled loop."""
        self._run(batches, count)

    def settle(self) -> None:
        """Nothing to do: steps change the variables themselves."""

    def bad_update(self) -> BadUpdate | None:
        """The optimizer remembers it."""
        return bad_update(self._model.optimizer.first_bad_update.numpy())

    def count_from(self, counted: Sequence[float]) -> None:
        """Rank 0 takes over what had been counted; the number of workers may have changed since."""
        self._tally.reset_state()
        if len(counted) and self._collectives.rank == 0:
            self._tally.sums.assign(counted)

    def counted(self) -> NDArray[np.float64]:
        """Every worker counts its rows; their sum."""
        return self._collectives.sum_array(self._tally.sums.numpy())

    def watched_update(self, batches: Iterator[Any], pieces: int) -> list[NDArray[Any]]:
        """Through the tap in the compiled step."""
        assert isinstance(self._tap, GradientTap)  # noqa: S101  # `make_tap` made it
        with self._tap.open() as gradients:
            self.run(batches, pieces)
        return list(gradients)

    def by_one(
        self, inputs: Any, targets: Any, weights: Any, *, first: int
    ) -> tuple[list[NDArray[Any]], NDArray[np.float64]]:
        """Eagerly."""
        import tensorflow as tf

        model, trainable = self._model, self._model.trainable_variables
        inputs, targets, weights = tf.nest.map_structure(tf.constant, (inputs, targets, weights))
        with alone(), first_row(first), tf.GradientTape() as tape:
            outputs = model(inputs, training=True)
            loss = model.compute_loss(x=inputs, y=targets, y_pred=outputs, sample_weight=weights, training=True)
        found = tape.gradient(loss, [variable.value for variable in trainable])
        gradients = [
            np.zeros(variable.shape, np.float32) if gradient is None else tf.convert_to_tensor(gradient).numpy()
            for variable, gradient in zip(trainable, found, strict=True)
        ]
        return gradients, np.asarray(batch_sums(self._target, targets, outputs, weights), np.float64)


def _compiled(model: TrainingModel) -> Callable[[Iterator[Any], int], None]:
    """Keras' training step in a loop inside TensorFlow: a call from Python costs a small head more than its step."""
    import tensorflow as tf

    @partial(tf.function, autograph=False)
    def run(batches: Iterator[Any], count: tf.Tensor) -> None:
        def step(done: tf.Tensor) -> tf.Tensor:
            model.train_step(next(batches))
            return done + 1

        tf.while_loop(lambda done: done < count, step, [tf.constant(0)], parallel_iterations=1)

    return lambda batches, count: run(batches, tf.constant(count))


def _one_by_one(model: TrainingModel) -> Callable[[Iterator[Any], int], None]:
    model.make_train_function(force=True)

    def run(batches: Iterator[Any], count: int) -> None:
        for _ in range(count):
            model.train_function(batches)

    return run
