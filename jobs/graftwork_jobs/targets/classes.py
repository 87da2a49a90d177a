"""One of several classes: softmax, cross-entropy, accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from graftwork.bundle.manifest import BinaryThreshold, Calibration, OutputSignature, ScoresSignature
from graftwork.spec.job_evaluation import Threshold
from graftwork.spec.tasks import TargetKind
from graftwork_jobs.evaluation.class_reporting import ClassReporting
from graftwork_jobs.evaluation.class_sums import class_sums
from graftwork_jobs.evaluation.decisions import ChosenCut, Cut, answered, choose_cut, cut_words
from graftwork_jobs.evaluation.metrics import ClassificationMetrics, classification_metrics
from graftwork_jobs.evaluation.mistakes import WrongAnswer, most_confident_mistakes
from graftwork_jobs.evaluation.resampling import Summed
from graftwork_jobs.evaluation.temperature import cooled_classes, fit_class_temperature, temperature_words
from graftwork_jobs.targets.base import Judged, NotComparableError, Target, Targets, Tensor, name_note

_OF_ALL_SCORES = frozenset({"loss", "ece", "auc_macro", "top5_accuracy"})

_OF_EACH_CLASS = frozenset({"precision_macro", "recall_macro", "f1_macro"})
_OF_SMALLEST_CLASS = frozenset({"auc_macro", "quadratic_kappa"})


class ClassTarget(Target):
    """One class an example; targets are class numbers, shape (rows,), int32; outputs are logits.

    Training may have shares of the classes instead, shape (rows, classes), where pictures are mixed.

    Attributes:
        temperature: what the outputs are divided by; 1 until `settled`.
        chosen: decision between two classes, with what it does on the validation data; None until `settled`, and
            where the spec has no threshold.
    """

    kind: ClassVar[TargetKind] = "classes"
    score = "accuracy"
    counts_right = "accuracy"

    def __init__(
        self,
        names: tuple[str, ...],
        *,
        label_smoothing: float = 0.0,
        focal_gamma: float | None = None,
        calibrates: bool = False,
        threshold: Threshold | None = None,
    ) -> None:
        """From the names of the classes.

        Args:
            names: of the classes.
            label_smoothing: share of the true class given to all.
            focal_gamma: how much examples that are right already count less; None for cross-entropy.
            calibrates: whether a temperature is to be fitted.
            threshold: how to choose between two classes; None for the higher score.
        """
        super().__init__(names)
        self._smoothing = label_smoothing
        self._gamma = focal_gamma
        self._calibrates = calibrates
        self._threshold = threshold
        self._fitted_on = 0
        self.temperature = 1.0
        self.chosen: ChosenCut | None = None

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
        """Softmax, of outputs divided by the temperature."""
        import keras

        if self.calibration is not None:
            outputs = keras.layers.Rescaling(1.0 / self.temperature, dtype="float32", name="temperature")(outputs)
        return keras.layers.Softmax(dtype="float32", name="scores")(outputs)

    def settled(self, predictions: NDArray[np.float32], targets: Targets) -> Self:
        """With the temperature and then the threshold that the spec asks for."""
        settled = copy(self)
        if self._calibrates:
            settled.temperature = fit_class_temperature(predictions, targets)
            settled._fitted_on = len(predictions)  # noqa: SLF001 (its own copy)
        if self._threshold is not None:
            positive = len(self.names) - 1
            if self._threshold.positive is not None:
                positive = self.names.index(self._threshold.positive)
            settled.chosen = choose_cut(settled.adjusted(predictions), targets, self._threshold, positive)
        return settled

    def adjusted(self, predictions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Calibrated."""
        return predictions if self.calibration is None else cooled_classes(predictions, self.temperature)

    @property
    def calibration(self) -> Calibration | None:
        """The temperature."""
        return Calibration(temperatures=[self.temperature], examples=self._fitted_on) if self._fitted_on else None

    @property
    def settled_words(self) -> tuple[str, ...]:
        """The temperature, and the threshold with what it does."""
        words = []
        if self._fitted_on:
            words.append(temperature_words(self.temperature, self._fitted_on))
        if self.chosen is not None and self._threshold is not None:
            words.append(cut_words(self.chosen, self.names, self._threshold))
        return tuple(words)

    @property
    def _cut(self) -> Cut | None:
        return None if self.chosen is None else self.chosen.cut

    def metrics(self, predictions: NDArray[np.float32], targets: Targets) -> ClassificationMetrics:
        """Metrics of a classifier."""
        return classification_metrics(predictions, targets, self.names, self._cut)

    def right(self, predictions: NDArray[np.float32], targets: Targets) -> NDArray[np.bool_]:
        """The class answered is the true one."""
        return np.asarray(answered(predictions, self._cut) == targets)

    def judging(self, output: OutputSignature, predictions: NDArray[np.float32]) -> Judged:
        """By label: classes it does not know the other model cannot name, and its further ones are always wrong."""
        theirs = output.labels
        if not isinstance(output, ScoresSignature) or not set(theirs) & set(self.names):
            raise NotComparableError("it knows none of the classes")
        further = [name for name in theirs if name not in self.names]
        unknown = [name for name in self.names if name not in theirs]
        other = copy(self)
        other.names = (*self.names, *further)
        place = [other.names.index(name) for name in theirs]
        scores = np.zeros((len(predictions), len(other.names)), np.float32)
        scores[:, place] = predictions
        other.chosen = None
        if output.threshold is not None:
            positive = theirs.index(output.threshold.positive)
            cut = Cut(positive=place[positive], at=output.threshold.at, negative=place[1 - positive])
            other.chosen = ChosenCut(cut=cut, precision=None, recall=0.0, reached=True)
        return Judged(
            target=other,
            predictions=scores,
            # Scores over other classes are other scores; the class answered is still right or wrong.
            incomparable=_OF_ALL_SCORES if unknown or further else frozenset(),
            notes=(*name_note("does not know", unknown), *name_note("also knows", further)),
        )

    def summed(self, predictions: NDArray[np.float32], targets: Targets, summary: Mapping[str, float]) -> Summed:
        """Right answers, log losses, and counts of each class."""
        return class_sums(predictions, targets, summary, self._cut)

    def rests_on(self, metric: str, targets: Targets) -> int:
        """Of macro figures, the smallest class's examples for each class; of those of ranks, the smallest class's.

        No mistake among n examples leaves, at the same confidence, a share of at most c / n of a class unseen as wrong.
        In a mean over k classes that is c / (k * n): what k times n examples leave of a share.
        """
        present = [count for count in self.counts(targets).values() if count]
        if metric in _OF_EACH_CLASS:
            return min(len(targets), len(present) * min(present))
        return min(present) if metric in _OF_SMALLEST_CLASS else len(targets)

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
            for wrong in most_confident_mistakes(predictions, targets, limit=limit, cut=self._cut)
        ]

    def signature(self) -> ScoresSignature:
        """Probabilities of the classes, and the threshold between two."""
        cut = self._cut
        threshold = None if cut is None else BinaryThreshold(positive=self.names[cut.positive], at=cut.at)
        return ScoresSignature(labels=list(self.names), threshold=threshold)

    def words(self, target: Any) -> str:
        """The class."""
        return self.names[int(target)]

    def counts(self, targets: Targets) -> Mapping[str, int]:
        """Examples of each class."""
        return dict(zip(self.names, np.bincount(targets, minlength=len(self.names)).tolist(), strict=True))
