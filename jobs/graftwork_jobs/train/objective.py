"""What is minimised and what is counted, for one worker's share of a batch."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from graftwork_jobs.distributed.batch_norm import valid_rows
from graftwork_jobs.targets.base import Target, Tensor


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
        # All of its parts are.
        self.built = True
        self.network = network
        self._backbone = backbone
        self._head = head
        self._backbone_trains = backbone_trains

    @property
    def parts_variables(self) -> list[keras.Variable]:
        """Variables of what a step runs; those of a trunk below it are left out."""
        parts = [part for part in (self._backbone, self._head) if part is not None]
        return [variable for part in parts for variable in part.variables]

    def call(self, inputs: dict[str, Tensor], training: bool = False) -> Tensor:  # noqa: FBT001, FBT002 - as Keras calls it
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

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
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

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor) -> None:
        """Add a batch; rows of weight 0 are padding."""
        self.sums.assign_add(ops.cast(batch_sums(self._target, y_true, y_pred, sample_weight), "float64"))

    def result(self) -> Tensor:
        """Mean loss of the rows seen by this worker."""
        return ops.divide_no_nan(self.sums[0], self.sums[-1])


def example_columns(target: Target, targets: Tensor, outputs: Tensor) -> Tensor:
    """What each example adds to the sums: its loss, its tallies, 1; shape (rows, tally_size + 2), float32."""
    losses = ops.cast(target.losses(targets, outputs), "float32")[:, None]
    return ops.concatenate([losses, target.tally(targets, outputs), ops.ones_like(losses)], axis=1)


def batch_sums(target: Target, targets: Tensor, outputs: Tensor, weights: Tensor) -> Tensor:
    """`example_columns` of a batch added up, rows of weight 0 (padding) left out; shape (tally_size + 2,), float32."""
    columns = example_columns(target, targets, outputs)
    # Not `columns * valid`: the loss of a padding row may be infinite.
    return ops.sum(ops.where(weights[:, None] > 0, columns, ops.zeros_like(columns)), axis=0)


def with_validity(values: Tensor, targets: Tensor, weights: Tensor) -> tuple[Any, Tensor, Tensor]:
    """An element of a `tf.data` pipeline as `TrainingModel` takes it."""
    import tensorflow as tf

    return {"values": values, "valid": tf.cast(weights > 0, tf.float32)}, targets, weights
