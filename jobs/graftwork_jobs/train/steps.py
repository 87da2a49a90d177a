"""Training steps of one phase, behind one interface: what differs between Keras' backends while a phase trains.

TensorFlow: every worker computes its rows and exchanges gradients and moments. JAX: all workers run one program on the
whole batch, whose rows are spread over their devices. Everything else - data, decisions, checkpoints, figures - is the
same and knows neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from graftwork_jobs.distributed.collectives import Collectives

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from graftwork_jobs.distributed.gradient_tap import Tap
    from graftwork_jobs.distributed.optimizer import BadUpdate
    from graftwork_jobs.targets.base import Target
    from graftwork_jobs.train.objective import TrainingModel


class Steps(Protocol):
    """Trains a model batch by batch, all workers alike."""

    def batches(self, dataset: tf.data.Dataset) -> Iterator[Any]:
        """This worker's share of the batches of a data set, as `run` takes them.

        Args:
            dataset: elements (inputs of `TrainingModel`, targets, weights).
        """
        ...

    def run(self, batches: Iterator[Any], count: int) -> None:
        """Train on the next so many batches. Between `run` and `settle` the model's variables are not to be looked at.

        Args:
            batches: there are enough of them.
            count: the same on all workers, which may exchange in every step.
        """
        ...

    def settle(self) -> None:
        """Bring the variables of model and optimizer to where the steps are."""
        ...

    def bad_update(self) -> BadUpdate | None:
        """The first update so far whose gradient was not finite; None while all is well. Waits for the device."""
        ...

    def count_from(self, counted: Sequence[float]) -> None:
        """Begin to count.

        Args:
            counted: what all workers together had counted before; empty for nothing.
        """
        ...

    def counted(self) -> NDArray[np.float64]:
        """Loss, tallies and rows since `count_from`, of all workers together, shape (tally_size + 2,)."""
        ...

    def watched_update(self, batches: Iterator[Any], pieces: int) -> list[NDArray[Any]]:
        """One weight update, settled; gives the gradients that the optimizer used, one a trainable variable.

        Args:
            batches: as for `run`.
            pieces: steps that make an update.
        """
        ...

    def by_one(
        self, inputs: Any, targets: Any, weights: Any, *, first: int
    ) -> tuple[list[NDArray[Any]], NDArray[np.float64]]:
        """What this worker computes alone, past the compiled step and the optimizer, for some rows of a whole batch.

        Statistics and dropout's state move on as in a step.

        Args:
            inputs: of these rows, as the model takes them.
            targets: of these rows.
            weights: of these rows.
            first: number of the first of them in the batch.

        Returns:
            Gradients of their mean loss, one a trainable variable, and what they count.
        """
        ...


def make_tap() -> Tap:
    """What an optimizer shows its gradients to."""
    from graftwork_jobs.distributed.gradient_tap import GradientTap, TracedTap

    return TracedTap() if _on_jax() else GradientTap()


def make_steps(
    model: TrainingModel,
    optimizer: keras.optimizers.Optimizer,
    target: Target,
    collectives: Collectives,
    tap: Tap | None = None,
) -> Steps:
    """Steps on the backend that Keras runs on.

    Args:
        model: what is trained.
        optimizer: built for its trainable variables.
        target: what is predicted.
        collectives: this worker among all.
        tap: the optimizer's; None where no update is to be watched.
    """
    if _on_jax():
        from graftwork_jobs.train.jax_steps import JaxSteps

        return JaxSteps(model, optimizer, target, collectives, tap)
    from graftwork_jobs.train.tensorflow_steps import TensorFlowSteps

    return TensorFlowSteps(model, optimizer, target, collectives, tap)


def _on_jax() -> bool:
    import keras

    return bool(keras.backend.backend() == "jax")
