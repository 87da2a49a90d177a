"""One of several classes: softmax, cross-entropy, accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from graftwork.bundle.manifest import ScoresSignature
from graftwork.spec.tasks import TargetKind
from graftwork_jobs.evaluation.class_reporting import ClassReporting
from graftwork_jobs.evaluation.class_sums import class_sums
from graftwork_jobs.evaluation.metrics import ClassificationMetrics, classification_metrics
from graftwork_jobs.evaluation.mistakes import WrongAnswer, most_confident_mistakes
from graftwork_jobs.evaluation.resampling import Summed
from graftwork_jobs.targets.base import Target, Targets, Tensor


class ClassTarget(Target):
    """One class an example; targets are class numbers, shape (rows,), int32; outputs are logits.

    Training may have shares of the classes instead, shape (rows, classes), where pictures are mixed.
    """

    kind: ClassVar[TargetKind] = "classes"
    score = "accuracy"

    def __init__(
        self, names: tuple[str, ...], *, label_smoothing: float = 0.0, focal_gamma: float | None = None
    ) -> None:
        super().__init__(names)
        self._smoothing = label_smoothing
        self._gamma = focal_gamma

    def losses(self, targets: Tensor, outputs: Tensor) -> Tensor:
        """Cross-entropy, the labels smoothed and the loss focal as the spec asks.

        Source: Lin et al. 2017 (arXiv:1708.02002), equation 4, over all classes.
        """
        from keras import ops

        wanted = self._shares(targets)
        wanted = wanted * (1.0 - self._smoothing) + self._smoothing / len(self.names)
        logits = ops.cast(outputs, "float32")
        if self._gamma is None:
            return ops.categorical_crossentropy(wanted, logits, from_logits=True)
        log_scores = ops.log_softmax(logits, axis=-1)
        return -ops.sum(wanted * (1.0 - ops.exp(log_scores)) ** self._gamma * log_scores, axis=-1)

    @property
    def tally_size(self) -> int:
        """Right answers."""
        return 1

    def tally(self, targets: Tensor, outputs: Tensor) -> Tensor:
        """1 for a right answer; for a mixed example the share that the answer has in it."""
        from keras import ops

        guess = ops.argmax(outputs, axis=-1)
        if len(targets.shape) > 1:
            return ops.take_along_axis(ops.cast(targets, "float32"), guess[:, None], axis=-1)
        return ops.cast(ops.equal(ops.cast(guess, "int32"), ops.cast(targets, "int32")), "float32")[:, None]

    def _shares(self, targets: Tensor) -> Tensor:
        """Share of each class in each example, shape (rows, classes), float32."""
        from keras import ops

        if len(targets.shape) > 1:
            return ops.cast(targets, "float32")
        return ops.one_hot(ops.cast(targets, "int32"), len(self.names), dtype="float32")

    def figures(self, sums: NDArray[np.float64], rows: float) -> dict[str, float]:
        """Share of right answers."""
        return {"accuracy": float(sums[0]) / rows}

    def row_weights(self, targets: Targets, class_weights: str) -> NDArray[np.float32] | None:
        """`balanced`: inverse class frequencies."""
        if class_weights != "balanced":
            return None
        counts = np.bincount(targets, minlength=len(self.names))
        weights = (len(targets) / (len(counts) * counts)).astype(np.float32)
        return np.asarray(weights[targets], np.float32)

    def predictions(self, outputs: Tensor) -> Tensor:
        """Probabilities."""
        from keras import ops

        return ops.softmax(ops.cast(outputs, "float32"), axis=-1)

    def finish(self, outputs: Any) -> Any:
        """Softmax."""
        import keras

        return keras.layers.Softmax(dtype="float32", name="scores")(outputs)

    def metrics(self, predictions: NDArray[np.float32], targets: Targets) -> ClassificationMetrics:
        """Metrics of a classifier."""
        return classification_metrics(predictions, targets, self.names)

    def summed(self, predictions: NDArray[np.float32], targets: Targets, summary: Mapping[str, float]) -> Summed:
        """Right answers, log losses, and counts of each class."""
        return class_sums(predictions, targets, summary)

    @property
    def reporting(self) -> ClassReporting:
        """Accuracy, confusion matrix, table of classes, calibration."""
        return ClassReporting()

    def worst(self, predictions: NDArray[np.float32], targets: Targets, *, limit: int) -> Sequence[WrongAnswer]:
        """The most confident wrong answers."""
        return [
            WrongAnswer(
                row=wrong.row,
                truth=self.names[wrong.label],
                said=self.names[wrong.predicted],
                score=wrong.score,
                true_score=wrong.true_score,
            )
            for wrong in most_confident_mistakes(predictions, targets, limit=limit)
        ]

    def signature(self) -> ScoresSignature:
        """Probabilities of the classes."""
        return ScoresSignature(labels=list(self.names))

    def words(self, target: Any) -> str:
        """The class."""
        return self.names[int(target)]

    def counts(self, targets: Targets) -> Mapping[str, int]:
        """Examples of each class."""
        return dict(zip(self.names, np.bincount(targets, minlength=len(self.names)).tolist(), strict=True))
