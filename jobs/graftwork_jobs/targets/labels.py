"""Any number of labels: a sigmoid for each, binary cross-entropy, thresholds chosen on validation data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from graftwork.bundle.manifest import Calibration, LabelsSignature, OutputSignature
from graftwork.data_files.table_writer import Cell, ColumnKind
from graftwork_jobs.evaluation.label_metrics import LabelMetrics, best_thresholds, label_metrics
from graftwork_jobs.evaluation.label_reporting import LabelReporting
from graftwork_jobs.evaluation.label_sums import label_sums
from graftwork_jobs.evaluation.mistakes import WrongAnswer
from graftwork_jobs.evaluation.resampling import Summed
from graftwork_jobs.evaluation.temperature import cooled_labels, fit_label_temperatures, temperatures_words
from graftwork_jobs.targets.base import Judged, NotComparableError, Target, Targets, Tensor, name_note

_NO_LABEL = "no label"
_OF_EACH_LABEL = frozenset({"precision_macro", "recall_macro", "f1_macro", "map"})


class LabelTarget(Target):
    """Labels; targets are 1 where an example has the label, shape (rows, labels), float32; outputs are logits.

    Attributes:
        thresholds: from which probability on each label is given, shape (labels,); one half until `settled`.
        temperatures: what the outputs are divided by, shape (labels,); 1 until `settled`.
    """

    kind = "multilabel"
    score = "f1_macro"
    counts_right = "exact_match"

    def __init__(
        self,
        names: tuple[str, ...],
        training: NDArray[np.float32],
        *,
        balanced: bool = False,
        label_smoothing: float = 0.0,
        focal_gamma: float | None = None,
        calibrates: bool = False,
    ) -> None:
        """From the names of the labels and the training data.

        Args:
            names: of the labels.
            training: targets of the training data, shape (n, labels).
            balanced: weigh yes and no of each label alike, whatever their numbers.
            label_smoothing: share of each label moved towards one half.
            focal_gamma: how much examples that are right already count less; None for cross-entropy.
            calibrates: whether temperatures are to be fitted.
        """
        super().__init__(names)
        rows = max(len(training), 1)
        share = np.clip(training.sum(axis=0) / rows, 0.5 / rows, 1.0 - 0.5 / rows)
        self._share = share.astype(np.float64)
        self._yes = (0.5 / share if balanced else np.ones_like(share)).astype(np.float32)
        self._no = (0.5 / (1.0 - share) if balanced else np.ones_like(share)).astype(np.float32)
        self._smoothing = label_smoothing
        self._gamma = focal_gamma
        self._calibrates = calibrates
        self._fitted_on = 0
        self.temperatures = np.ones(len(names), np.float64)
        self.thresholds = np.full(len(names), 0.5, np.float32)

    def losses(self, targets: Tensor, outputs: Tensor) -> Tensor:
        """Mean over the labels of binary cross-entropy, focal where the spec says so.

        Source: Lin et al. 2017 (arXiv:1708.02002), equation 4.
        """
        from keras import ops

        wanted, logits = ops.cast(targets, "float32"), ops.cast(outputs, "float32")
        weights = wanted * self._yes + (1.0 - wanted) * self._no
        soft = wanted * (1.0 - self._smoothing) + 0.5 * self._smoothing
        each = ops.maximum(logits, 0.0) - logits * soft + ops.log1p(ops.exp(-ops.abs(logits)))
        if self._gamma is not None:
            probability = ops.sigmoid(logits)
            weights = weights * ops.abs(wanted - probability) ** self._gamma
        return ops.mean(each * weights, axis=-1)

    @property
    def tally_size(self) -> int:
        """Three sums a label."""
        return 3 * len(self.names)

    def tally(self, targets: Tensor, outputs: Tensor) -> Tensor:
        """For each label, at one half: given and right, given, to be given."""
        from keras import ops

        wanted = ops.cast(targets, "float32")
        given = ops.cast(ops.cast(outputs, "float32") >= 0.0, "float32")
        return ops.concatenate([wanted * given, given, wanted], axis=-1)

    def figures(self, sums: NDArray[np.float64], rows: float) -> dict[str, float]:
        """F1 at one half: its mean over the labels that occur, and that of all answers together."""
        del rows
        right, given, wanted = sums.reshape(3, -1)
        f1 = 2 * right / np.maximum(given + wanted, 1.0)
        occurs = wanted > 0
        return {
            "f1_macro": float(f1[occurs].mean()) if occurs.any() else 0.0,
            "f1_micro": float(2 * right.sum() / max((given + wanted).sum(), 1.0)),
        }

    def predictions(self, outputs: Tensor) -> Tensor:
        """A probability for each label."""
        from keras import ops

        return ops.sigmoid(ops.cast(outputs, "float32"))

    def finish(self, outputs: Any) -> Any:
        """Sigmoid, of outputs divided by the temperatures."""
        import keras

        if self.calibration is not None:
            scale = [1.0 / float(each) for each in self.temperatures]
            outputs = keras.layers.Rescaling(scale, dtype="float32", name="temperature")(outputs)
        return keras.layers.Activation("sigmoid", dtype="float32", name="scores")(outputs)

    def settled(self, predictions: NDArray[np.float32], targets: Targets) -> Self:
        """With temperatures if the spec says so, and the thresholds that give the highest F1 of each label then."""
        chosen = copy(self)
        if self._calibrates:
            chosen.temperatures = fit_label_temperatures(predictions, targets)
            chosen._fitted_on = len(predictions)  # noqa: SLF001 (its own copy)
        chosen.thresholds = best_thresholds(chosen.adjusted(predictions), targets)
        return chosen

    def adjusted(self, predictions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Calibrated."""
        return predictions if self.calibration is None else cooled_labels(predictions, self.temperatures)

    @property
    def calibration(self) -> Calibration | None:
        """The temperatures."""
        if not self._fitted_on:
            return None
        return Calibration(temperatures=[float(each) for each in self.temperatures], examples=self._fitted_on)

    @property
    def settled_words(self) -> tuple[str, ...]:
        """The temperatures; thresholds are in the table of labels."""
        return (temperatures_words(self.temperatures, self._fitted_on),) if self._fitted_on else ()

    def metrics(self, predictions: NDArray[np.float32], targets: Targets) -> LabelMetrics:
        """F1, average precision and the like, of each label and on average."""
        return label_metrics(predictions, targets, self.names, self.thresholds)

    def right(self, predictions: NDArray[np.float32], targets: Targets) -> NDArray[np.bool_]:
        """All labels are as they should be."""
        return np.asarray(((predictions >= self.thresholds) == (targets > 0)).all(axis=1))

    def judging(self, output: OutputSignature, predictions: NDArray[np.float32]) -> Judged:
        """By label, with the other model's thresholds; what it does not know it never gives, the rest is left out."""
        if not isinstance(output, LabelsSignature) or not set(output.labels) & set(self.names):
            raise NotComparableError("it knows none of the labels")
        other, given = copy(self), np.zeros((len(predictions), len(self.names)), np.float32)
        # Above any probability.
        other.thresholds = np.full(len(self.names), 2.0, np.float32)
        for place, name in enumerate(self.names):
            if name in output.labels:
                theirs = output.labels.index(name)
                given[:, place] = predictions[:, theirs]
                other.thresholds[place] = output.thresholds[theirs]
        unknown = [name for name in self.names if name not in output.labels]
        return Judged(
            target=other,
            predictions=given,
            incomparable=frozenset({"loss", "ece", "map"}) if unknown else frozenset(),
            notes=name_note("does not know", unknown),
        )

    def summed(self, predictions: NDArray[np.float32], targets: Targets, summary: Mapping[str, float]) -> Summed:
        """Losses, and counts of each label."""
        return label_sums(predictions, targets, self.thresholds, summary)

    def rests_on(self, metric: str, targets: Targets) -> int:
        """Of means over the labels, the examples of the rarest: one example may be wrong in all labels at once."""
        present = [count for count in self.counts(targets).values() if count]
        if metric in _OF_EACH_LABEL and present:
            return min(present)
        return min(len(targets), sum(present) or len(targets)) if metric == "f1_micro" else len(targets)

    @property
    def reporting(self) -> LabelReporting:
        """F1, table of labels, precision over recall."""
        return LabelReporting(share=self._share)

    def worst(self, predictions: NDArray[np.float32], targets: Targets, *, limit: int) -> Sequence[WrongAnswer]:
        """Answers with the surest wrong label, or the most surely missed one."""
        given = predictions >= self.thresholds
        error = np.abs(predictions - targets) * (given != (targets > 0))
        order = [row for row in np.argsort(-error.max(axis=1), kind="stable")[:limit] if error[row].max() > 0]
        return [WrongAnswer(row=int(row), truth=self.words(targets[row]), said=self.words(given[row])) for row in order]

    def signature(self) -> LabelsSignature:
        """Probabilities of the labels, and their thresholds."""
        return LabelsSignature(labels=list(self.names), thresholds=[float(each) for each in self.thresholds])

    def words(self, target: Any) -> str:
        """The labels an example has."""
        return ", ".join(name for name, has in zip(self.names, target, strict=True) if has) or _NO_LABEL

    def truth_columns(self) -> dict[str, ColumnKind]:
        """All labels in one column."""
        return {"true_labels": "labels"}

    def truth_cells(self, target: Any) -> list[Cell]:
        """The labels an example has."""
        return [[name for name, has in zip(self.names, target, strict=True) if has]]

    def counts(self, targets: Targets) -> Mapping[str, int]:
        """Examples that have each label."""
        return dict(zip(self.names, targets.sum(axis=0).astype(int).tolist(), strict=True))
