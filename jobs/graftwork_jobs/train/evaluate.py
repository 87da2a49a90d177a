"""Exact figures over a whole split, each example counted once, whatever the number of workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.train.objective import ExampleLoss

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Means over a split.

    Attributes:
        loss: cross-entropy with the job's label smoothing.
        accuracy: share of examples whose label has the highest score.
    """

    loss: float
    accuracy: float


def figures_of(sums: NDArray[np.float64], collectives: Collectives) -> Figures:
    """Add up the workers' tallies.

    Args:
        sums: this worker's loss, correct answers and rows, shape (3,).
        collectives: this worker's place among all workers.
    """
    loss, correct, rows = (float(value) for value in collectives.sum_array(np.asarray(sums, np.float64)))
    return Figures(loss=loss / rows, accuracy=correct / rows)


class Evaluator:
    """Runs a network in inference mode over one worker's share of a split. Survives changes of weights and phases."""

    def __init__(
        self, network: keras.Model, example_loss: ExampleLoss, *, classes: int, collectives: Collectives
    ) -> None:
        self._classes = classes
        self._collectives = collectives
        self._example_loss = example_loss
        images = tf.TensorSpec([None, *network.input_shape[1:]], tf.float32)
        # A fixed signature: the short last batch must not cost another trace.
        self._logits = tf.function(lambda x: tf.cast(network(x, training=False), tf.float32), input_signature=[images])

    def figures(self, batches: tf.data.Dataset) -> Figures:
        """Loss and accuracy over the whole split.

        Args:
            batches: this worker's share, elements (images, labels).
        """
        sums = np.zeros(3, np.float64)
        for images, labels in batches:
            logits = self._logits(images)
            correct = np.argmax(logits.numpy(), axis=-1) == labels.numpy()
            losses = self._example_loss(labels, logits).numpy()
            sums += [losses.sum(dtype=np.float64), correct.sum(), len(correct)]
        return figures_of(sums, self._collectives)

    def scores(self, batches: tf.data.Dataset, *, examples: int) -> NDArray[np.float32]:
        """Class probabilities of every example of the whole split, the same on every worker.

        Args:
            batches: this worker's share (rows rank, rank + world, ...), elements (images, labels).
            examples: size of the whole split.

        Returns:
            Shape (examples, classes), float32, in the split's order.
        """
        own = [tf.nn.softmax(self._logits(images)).numpy() for images, _ in batches]
        scores = np.zeros((examples, self._classes), np.float32)
        if own:
            scores[self._collectives.rank :: self._collectives.world] = np.concatenate(own)
        return self._collectives.sum_array(scores)
