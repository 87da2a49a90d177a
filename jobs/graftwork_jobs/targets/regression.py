"""Numbers: regression of one or more targets, standardised inside and told in the user's units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from graftwork.bundle.answers import shown_number
from graftwork.bundle.manifest import NumbersSignature, OutputSignature
from graftwork.data_files.table_writer import Cell, ColumnKind
from graftwork_jobs.evaluation.mistakes import WrongAnswer
from graftwork_jobs.evaluation.number_metrics import NumberMetrics, number_metrics
from graftwork_jobs.evaluation.number_reporting import NumberReporting
from graftwork_jobs.evaluation.number_sums import number_sums
from graftwork_jobs.evaluation.resampling import Summed
from graftwork_jobs.targets.base import Judged, NotComparableError, Target, Targets, Tensor

NumberLoss = Literal["mse", "mae", "huber"]
# Golden examples come from the whole range of the first target, in as many parts as there are examples.
_PARTS = 8


class NumberTarget(Target):
    """Numbers; targets are in the user's units, shape (rows, names), float32; outputs are standardised.

    Attributes:
        means: of the training data, shape (names,).
        deviations: of the training data, shape (names,); 1 where all are the same.
    """

    kind = "numbers"
    score = "r2"

    def __init__(self, names: tuple[str, ...], training: NDArray[np.float32], *, loss: NumberLoss = "mse") -> None:
        """From the names of the numbers and those of the training data, shape (n, names)."""
        super().__init__(names)
        self._loss = loss
        known = training if len(training) else np.zeros((1, len(names)), np.float32)
        self.means = known.mean(axis=0, dtype=np.float64).astype(np.float32)
        spread = known.std(axis=0, dtype=np.float64).astype(np.float32)
        self.deviations = np.where(spread > 0, spread, np.float32(1.0)).astype(np.float32)
        # A model that knows nothing of the input gives the mean: its standardised output is 0.
        self._guess_loss = float(_error_loss((known - self.means) / self.deviations, loss).mean())

    def losses(self, targets: Tensor, outputs: Tensor) -> Tensor:
        """Mean over the numbers of squared, absolute or Huber error, standardised."""
        from keras import ops

        error = ops.cast(outputs, "float32") - self._standardised(targets)
        size = ops.abs(error)
        match self._loss:
            case "mse":
                each = error * error
            case "mae":
                each = size
            case _:
                each = ops.where(size <= 1.0, 0.5 * error * error, size - 0.5)
        return ops.mean(each, axis=-1)

    @property
    def tally_size(self) -> int:
        """Four sums a number."""
        return 4 * len(self.names)

    def tally(self, targets: Tensor, outputs: Tensor) -> Tensor:
        """Squared error, standardised number, its square, and absolute error in the user's units."""
        from keras import ops

        wanted = self._standardised(targets)
        error = ops.cast(outputs, "float32") - wanted
        return ops.concatenate([error * error, wanted, wanted * wanted, ops.abs(error) * self.deviations], axis=-1)

    def figures(self, sums: NDArray[np.float64], rows: float) -> dict[str, float]:
        """Mean over the numbers of R2 (0 where all are the same) and of the absolute error in the user's units."""
        squared, total, squares, absolute = sums.reshape(4, -1)
        spread = squares - total * total / rows
        explained = np.where(spread > 1e-6 * rows, 1.0 - squared / np.maximum(spread, 1e-12), 0.0)
        return {"r2": float(explained.mean()), "mae": float((absolute / rows).mean())}

    def predictions(self, outputs: Tensor) -> Tensor:
        """In the user's units."""
        from keras import ops

        return ops.cast(outputs, "float32") * self.deviations + self.means

    def finish(self, outputs: Any) -> Any:
        """Scale and shift, so that the bundle answers in the user's units."""
        import keras

        scale = keras.layers.Dense(len(self.names), dtype="float32", name="scores")
        answers = scale(outputs)
        scale.set_weights([np.diag(self.deviations), self.means])
        return answers

    def metrics(self, predictions: NDArray[np.float32], targets: Targets) -> NumberMetrics:
        """MAE, RMSE and R2 of each number and on average."""
        return number_metrics(predictions, targets, self.names)

    def judging(self, output: OutputSignature, predictions: NDArray[np.float32]) -> Judged:
        """By name; the other model must give all numbers, and may give more."""
        missing = [name for name in self.names if name not in output.labels]
        if not isinstance(output, NumbersSignature) or missing:
            raise NotComparableError(f"it does not predict {', '.join(missing) or 'numbers'}")
        chosen = [output.labels.index(name) for name in self.names]
        return Judged(target=self, predictions=predictions[:, chosen])

    def summed(self, predictions: NDArray[np.float32], targets: Targets, summary: Mapping[str, float]) -> Summed:
        """Errors and their squares."""
        del summary
        return number_sums(predictions.astype(np.float64), targets.astype(np.float64))

    @property
    def reporting(self) -> NumberReporting:
        """R2, errors of each number, predicted over true values."""
        return NumberReporting(guess_loss=self._guess_loss)

    def worst(self, predictions: NDArray[np.float32], targets: Targets, *, limit: int) -> Sequence[WrongAnswer]:
        """The largest standardised errors."""
        error = (np.abs(predictions - targets) / self.deviations).max(axis=1)
        order = np.argsort(-error, kind="stable")[:limit]
        return [
            WrongAnswer(row=int(row), truth=self.words(targets[row]), said=self.words(predictions[row]))
            for row in order
        ]

    def signature(self) -> NumbersSignature:
        """Numbers, with the deviations that golden examples are compared in."""
        return NumbersSignature(labels=list(self.names), deviations=[float(value) for value in self.deviations])

    def words(self, target: Any) -> str:
        """The numbers by name."""
        return ", ".join(f"{name} {value:.4g}" for name, value in zip(self.names, target, strict=True))

    def truth_columns(self) -> dict[str, ColumnKind]:
        """A column a number."""
        return {f"true_{name}": "number" for name in self.names}

    def truth_cells(self, target: Any) -> list[Cell]:
        """The numbers."""
        return [shown_number(value) for value in target]

    def spread(self, targets: Targets) -> list[str]:
        """Parts of the range of the first number."""
        rank = np.argsort(np.argsort(targets[:, 0], kind="stable"), kind="stable")
        return [str(int(place) * _PARTS // max(len(targets), 1)) for place in rank]

    def _standardised(self, targets: Tensor) -> Tensor:
        from keras import ops

        return (ops.cast(targets, "float32") - self.means) / self.deviations


def _error_loss(error: NDArray[np.float32], loss: NumberLoss) -> NDArray[np.float32]:
    size = np.abs(error)
    match loss:
        case "mse":
            return error * error
        case "mae":
            return size
        case "huber":
            return np.where(size <= 1.0, 0.5 * error * error, size - 0.5)
