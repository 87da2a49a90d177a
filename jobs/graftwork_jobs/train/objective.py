"""What is minimised and what is counted, for one worker's share of a batch."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from graftwork_jobs.distributed.batch_norm import valid_rows
from graftwork_jobs.targets.base import Target


class TrainingModel(keras.Model):
    """The part of a network that a phase runs, together with which rows of its batch are real.

    Its variables are the network's. Calls backbone and head one after the other rather than the network: Keras 3.15
    lets `training=True` of an outer call win over the `training=False` that a nested model was given when it was called
    symbolically, so BatchNorm layers that must keep their statistics would not.
    """

    def __init__(
        self, network: keras.Model, *, backbone: keras.Model | None, head: keras.Model, backbone_trains: bool
    ) -> None:
        super().__init__()
        self.network = network
        self._backbone = backbone
        self._head = head
        self._backbone_trains = backbone_trains

    def call(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:  # noqa: FBT001, FBT002 - as Keras calls it
        """Outputs.

        Args:
            inputs: `values`: what the backbone takes (pictures, RGB 0..255, shape (rows, height, width, 3), or
                features), or the head where there is no backbone; float32. `valid`: 1 for a real row, 0 for padding,
                shape (rows,), float32.
            training: whether layers behave as in training.
        """
        values = inputs["values"]
        with valid_rows(inputs["valid"]):
            if self._backbone is not None:
                values = self._backbone(values, training=training and self._backbone_trains)
            return self._head(values, training=training)


class BatchLoss(keras.losses.Loss):
    """Mean of a target's losses times the rows' weights over all rows, padding included.

    The data pipeline scales the weights so that the average over workers and pieces is the mean over real rows.
    """

    def __init__(self, target: Target) -> None:
        super().__init__(reduction="sum_over_batch_size")
        self._target = target

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Loss of each example."""
        return self._target.losses(y_true, y_pred)


class Tally(keras.metrics.Metric):
    """Sums over the real rows seen: loss, the target's tallies, rows. Sums, so that workers' can be added up.

    Weights do not count here: training and validation loss stay comparable.
    """

    def __init__(self, target: Target) -> None:
        super().__init__(name="tally")
        self._target = target
        # float64 holds the exact count of up to 2^53 rows.
        self.sums = self.add_variable(shape=(target.tally_size + 2,), initializer="zeros", dtype="float64", name="sums")

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor) -> None:
        """Add a batch; rows of weight 0 are padding."""
        columns = example_columns(self._target, y_true, y_pred)
        # Not `columns * valid`: the loss of a padding row may be infinite.
        valid = tf.where(sample_weight[:, None] > 0, columns, tf.zeros_like(columns))
        self.sums.assign_add(tf.cast(tf.reduce_sum(valid, axis=0), tf.float64))

    def result(self) -> tf.Tensor:
        """Mean loss of the rows seen by this worker."""
        return tf.math.divide_no_nan(self.sums[0], self.sums[-1])


def example_columns(target: Target, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """What each example adds to the sums: its loss, its tallies, 1; shape (rows, tally_size + 2), float32."""
    losses = tf.cast(target.losses(targets, outputs), tf.float32)[:, None]
    return tf.concat([losses, target.tally(targets, outputs), tf.ones_like(losses)], axis=1)


def with_validity(values: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tuple[Any, tf.Tensor, tf.Tensor]:
    """A pipeline's element as `TrainingModel` takes it."""
    return {"values": values, "valid": tf.cast(weights > 0, tf.float32)}, targets, weights
