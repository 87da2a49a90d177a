"""Levels of an order: at each level, whether it goes further up. Answers are probabilities of the levels.

Source: Shi, Cao, Raschka 2021 (arXiv:2111.08851), CORN: conditional probabilities, so that levels cannot cross.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.bundle.manifest import OutputSignature
from graftwork_jobs.evaluation.level_metrics import level_metrics
from graftwork_jobs.evaluation.level_reporting import LevelReporting
from graftwork_jobs.evaluation.level_sums import level_sums
from graftwork_jobs.evaluation.metrics import ClassificationMetrics
from graftwork_jobs.evaluation.resampling import Summed
from graftwork_jobs.targets.base import Judged, NotComparableError, Targets, Tensor
from graftwork_jobs.targets.classes import ClassTarget


class LevelTarget(ClassTarget):
    """One level an example; targets are level numbers, shape (rows,), int32, from the lowest up.

    Outputs are logits of going on beyond each level but the highest, once it is reached: shape (rows, levels - 1).
    Training may have shares of the levels as targets, shape (rows, levels), where pictures are mixed.
    """

    kind = "levels"

    @property
    def outputs(self) -> int:
        """One fewer than there are levels."""
        return len(self.names) - 1

    def losses(self, targets: Tensor, outputs: Tensor) -> Tensor:
        """Binary cross-entropy of going on, over the levels reached: minus the logarithm of the level's score."""
        from keras import ops

        return -ops.sum(self._shares(targets) * _log_scores(outputs), axis=-1)

    @property
    def tally_size(self) -> int:
        """Right answers, and levels that answers are off."""
        return 2

    def tally(self, targets: Tensor, outputs: Tensor) -> Tensor:
        """1 for a right answer, and by how many levels it is off; averages of both for a mixed example."""
        from keras import ops

        shares, guess = self._shares(targets), ops.argmax(_log_scores(outputs), axis=-1)
        levels = ops.arange(len(self.names), dtype="float32")
        off = ops.abs(levels[None, :] - ops.cast(guess, "float32")[:, None])
        return ops.stack([ops.sum(ops.cast(off == 0, "float32") * shares, -1), ops.sum(off * shares, -1)], axis=-1)

    def figures(self, sums: NDArray[np.float64], rows: float) -> dict[str, float]:
        """Share of right answers, and levels they are off on average."""
        return {"accuracy": float(sums[0]) / rows, "mae": float(sums[1]) / rows}

    def predictions(self, outputs: Tensor) -> Tensor:
        """Probabilities of the levels, shape (rows, levels)."""
        from keras import ops

        return ops.exp(_log_scores(outputs))

    def finish(self, outputs: Any) -> Any:
        """The same by stock layers: costs of stopping and of going on, added up for each level, then softmax."""
        from keras import layers

        stop = layers.Activation("softplus", dtype="float32", name="cost_of_stopping")(outputs)
        turned = layers.Rescaling(-1.0, dtype="float32", name="turned")(outputs)
        go_on = layers.Activation("softplus", dtype="float32", name="cost_of_going_on")(turned)
        costs = layers.Concatenate(dtype="float32", name="costs")([go_on, stop])
        sums = layers.Dense(len(self.names), use_bias=False, dtype="float32", name="log_scores")
        logs = sums(costs)
        sums.set_weights([-_costs_by_level(len(self.names))])
        if self.calibration is not None:
            logs = layers.Rescaling(1.0 / self.temperature, dtype="float32", name="temperature")(logs)
        return layers.Softmax(dtype="float32", name="scores")(logs)

    def metrics(self, predictions: NDArray[np.float32], targets: Targets) -> ClassificationMetrics:
        """Those of a classifier, and how far off answers are."""
        return level_metrics(predictions, targets, self.names)

    def summed(self, predictions: NDArray[np.float32], targets: Targets, summary: Mapping[str, float]) -> Summed:
        """Those of a classifier, and distances."""
        return level_sums(predictions, targets, summary)

    def range_of(self, metric: str) -> tuple[float, float]:
        """That of a classifier's figures; of the distance, from none to the whole order."""
        return (0.0, float(len(self.names) - 1)) if metric == "mae" else super().range_of(metric)

    def judging(self, output: OutputSignature, predictions: NDArray[np.float32]) -> Judged:
        """By name; both models must know the same levels, for distances to be the same."""
        if set(output.labels) != set(self.names):
            raise NotComparableError("it knows other levels")
        return super().judging(output, predictions)

    @property
    def reporting(self) -> LevelReporting:
        """Accuracy, distances, confusion matrix, calibration."""
        return LevelReporting()


def _log_scores(outputs: Tensor) -> Tensor:
    """Logarithm of each level's probability, shape (rows, levels), float32."""
    from keras import ops

    logits = ops.cast(outputs, "float32")
    costs = ops.concatenate([ops.softplus(-logits), ops.softplus(logits)], axis=-1)
    return -ops.matmul(costs, _costs_by_level(int(logits.shape[-1]) + 1))


def _costs_by_level(levels: int) -> NDArray[np.float32]:
    """Which costs make up each level's: going on at all below it, and stopping at it; (2 (levels - 1), levels)."""
    step, level = np.arange(levels - 1)[:, None], np.arange(levels)[None, :]
    return np.concatenate([step < level, step == level]).astype(np.float32)
