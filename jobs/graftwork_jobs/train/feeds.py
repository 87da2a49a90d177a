"""What a phase learns from: its inputs, or features of its frozen trunk. Both give the same rows in the same order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from graftwork_jobs.data.batch_plan import BatchPlan
from graftwork_jobs.data.index import Split
from graftwork_jobs.data.input_batches import EpochSeed, InputBatches
from graftwork_jobs.features.batches import feature_eval_batches, feature_train_batches

if TYPE_CHECKING:
    import tensorflow as tf

EVAL_BATCH = 64


class Feed(Protocol):
    """Batches of one phase for one worker."""

    def training(self, epoch: int, *, start_step: int = 0) -> tf.data.Dataset:
        """One epoch, from a step on: elements (inputs, targets, weights)."""
        ...

    def validation(self) -> tf.data.Dataset:
        """This worker's share of the validation data: elements (inputs, targets)."""
        ...

    def by_one(self) -> Feed:
        """The same batches for a worker that is alone."""
        ...


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Which rows a phase goes through.

    Attributes:
        plan: how global batches are cut up.
        seed: the job's seed.
        phase: 0-based number of the phase.
        weights: how much each training example counts; None for 1 throughout.
    """

    plan: BatchPlan
    seed: int
    phase: int
    weights: NDArray[np.float32] | None

    def by_one(self) -> Rows:
        """The same rows for a worker that is alone."""
        return replace(self, plan=replace(self.plan, rank=0, world=1))


@dataclass(frozen=True, kw_only=True)
class InputFeed:
    """Makes inputs (pictures, token ids) afresh in every epoch.

    Attributes:
        rows: which rows.
        train: training data.
        held_out: validation data.
        inputs: what examples are made into.
    """

    rows: Rows
    train: Split
    held_out: Split
    inputs: InputBatches

    def training(self, epoch: int, *, start_step: int = 0) -> tf.data.Dataset:
        """One epoch of inputs."""
        return self.inputs.training(
            self.train,
            self.rows.plan,
            EpochSeed(seed=self.rows.seed, phase=self.rows.phase, epoch=epoch),
            row_weights=self.rows.weights,
            start_step=start_step,
        )

    def validation(self) -> tf.data.Dataset:
        """This worker's share of the validation inputs."""
        return input_eval_batches(self.held_out, self.inputs, self.rows.plan)

    def by_one(self) -> InputFeed:
        """The same batches for a worker that is alone."""
        return replace(self, rows=self.rows.by_one())


@dataclass(frozen=True, kw_only=True)
class FeatureFeed:
    """Reads features that were computed once.

    Attributes:
        rows: which rows.
        train: features of the training data, shape (examples, ...), for each stored view of it.
        train_targets: its targets.
        held_out: features of the validation data.
        held_out_targets: its targets.
    """

    rows: Rows
    train: tuple[NDArray[np.float32], ...]
    train_targets: NDArray[Any]
    held_out: NDArray[np.float32]
    held_out_targets: NDArray[Any]

    def training(self, epoch: int, *, start_step: int = 0) -> tf.data.Dataset:
        """One epoch of features."""
        return feature_train_batches(
            self.train,
            self.train_targets,
            self.rows.plan,
            seed=self.rows.seed,
            phase=self.rows.phase,
            epoch=epoch,
            row_weights=self.rows.weights,
            start_step=start_step,
        )

    def validation(self) -> tf.data.Dataset:
        """This worker's share of the validation features."""
        plan = self.rows.plan
        return feature_eval_batches(
            self.held_out, self.held_out_targets, batch_size=EVAL_BATCH, rank=plan.rank, world=plan.world
        )

    def by_one(self) -> FeatureFeed:
        """The same batches for a worker that is alone."""
        return replace(self, rows=self.rows.by_one())


def input_eval_batches(split: Split, inputs: InputBatches, plan: BatchPlan) -> tf.data.Dataset:
    """This worker's share of a split: elements (inputs, targets)."""
    return inputs.evaluation(split, batch_size=EVAL_BATCH, rank=plan.rank, world=plan.world)
