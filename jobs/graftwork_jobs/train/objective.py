"""What is minimised and what is counted, for one worker's share of a batch."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from graftwork_jobs.distributed.batch_norm import valid_rows


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
        """Logits.

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


class ExampleLoss:
    """Cross-entropy of an example, with the labels smoothed as the spec asks."""

    def __init__(self, *, classes: int, label_smoothing: float) -> None:
        self._classes = classes
        self._smoothing = label_smoothing

    def __call__(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Loss of each example.

        Args:
            labels: class numbers, shape (rows,), int32.
            logits: shape (rows, classes), float32.

        Returns:
            Shape (rows,), float32.
        """
        # Keras hands labels to losses as floats.
        target = tf.one_hot(tf.cast(labels, tf.int32), self._classes, dtype=tf.float32)
        target = target * (1.0 - self._smoothing) + self._smoothing / self._classes
        return tf.nn.softmax_cross_entropy_with_logits(target, tf.cast(logits, tf.float32))


class BatchLoss(keras.losses.Loss):
    """Mean of an `ExampleLoss` times the rows' weights over all rows, padding included.

    The data pipeline scales the weights so that the average over workers and pieces is the mean over real rows.
    """

    def __init__(self, example_loss: ExampleLoss) -> None:
        super().__init__(reduction="sum_over_batch_size")
        self._example_loss = example_loss

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Loss of each example."""
        return self._example_loss(y_true, y_pred)


class Tally(keras.metrics.Metric):
    """Sums over the real rows seen: loss, correct answers, rows. Sums, so that workers' can be added up.

    Class weights do not count here: training and validation loss stay comparable.
    """

    def __init__(self, example_loss: ExampleLoss) -> None:
        super().__init__(name="tally")
        self._example_loss = example_loss
        # float64 holds the exact count of up to 2^53 rows.
        self.sums = self.add_variable(shape=(3,), initializer="zeros", dtype="float64", name="sums")

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor) -> None:
        """Add a batch; rows of weight 0 are padding."""
        valid = tf.cast(sample_weight > 0, tf.float32)
        losses = self._example_loss(y_true, y_pred)
        guess = tf.argmax(y_pred, axis=-1, output_type=tf.int32)
        correct = tf.cast(tf.equal(guess, tf.cast(y_true, tf.int32)), tf.float32)
        # Not `losses * valid`: the loss of a padding row may be infinite.
        sums = [tf.reduce_sum(tf.where(valid > 0, losses, 0.0)), tf.reduce_sum(correct * valid), tf.reduce_sum(valid)]
        self.sums.assign_add(tf.cast(tf.stack(sums), tf.float64))

    def result(self) -> tf.Tensor:
        """Mean loss of the rows seen by this worker."""
        return tf.math.divide_no_nan(self.sums[0], self.sums[2])


def with_validity(values: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tuple[Any, tf.Tensor, tf.Tensor]:
    """A pipeline's element as `TrainingModel` takes it."""
    return {"values": values, "valid": tf.cast(weights > 0, tf.float32)}, labels, weights
