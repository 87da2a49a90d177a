"""What every target kind answers for. No kind is named here.

The network gives *outputs* (such as logits), one row an example. A target turns them into losses, into figures of an
epoch, and into *predictions*: what the bundle answers with. Mathematics is written with `keras.ops`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from graftwork.spec.target_metrics import RANGES
from graftwork.spec.tasks import NAMES_ARE, TargetKind

if TYPE_CHECKING:
    from graftwork.bundle.manifest import Calibration, OutputSignature
    from graftwork.data_files.table_writer import Cell, ColumnKind
    from graftwork_jobs.evaluation.kinds import Reporting, TestMetrics
    from graftwork_jobs.evaluation.mistakes import WrongAnswer
    from graftwork_jobs.evaluation.resampling import Summed


class NotComparableError(Exception):
    """Predictions of another model say nothing about what is predicted here. The text is a clause that says why."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """Another model's predictions, as far as they answer what is asked here.

    Attributes:
        target: judges them against the same targets.
        predictions: shape (examples, names of `target`).
        incomparable: figures that mean something else for the other model.
        notes: what to know when reading the figures.
    """

    target: Target
    predictions: NDArray[np.float32]
    incomparable: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


_NAMES_SHOWN = 5
Tensor = Any
"""A tensor of the Keras backend."""
Targets = NDArray[Any]
"""What is to be predicted, one row an example; shape and type are the target kind's."""


def name_note(what: str, names: Sequence[str]) -> tuple[str, ...]:
    """A sentence about names that only one of two models has; none without any."""
    if not names:
        return ()
    shown = ", ".join(names[:_NAMES_SHOWN]) + (f" and {len(names) - _NAMES_SHOWN} more" if names[_NAMES_SHOWN:] else "")
    return (f"The other model {what} {shown}; figures that need the same names on both sides are left out.",)


class Target(ABC):
    """All that depends on what is predicted.

    Attributes:
        kind: which kind.
        score: name of the epoch figure that stands beside the loss; higher is better.
        counts_right: name of the test figure that is the share of `right` answers; None where there is no such thing.
        names: what the predictions are called: classes, labels, targets or levels.
    """

    kind: ClassVar[TargetKind]
    score: ClassVar[str]
    counts_right: ClassVar[str | None] = None

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    # Training

    @property
    def outputs(self) -> int:
        """How many numbers the network gives for an example."""
        return len(self.names)

    @abstractmethod
    def losses(self, targets: Tensor, outputs: Tensor) -> Tensor:
        """Loss of each example.

        Args:
            targets: of a batch; Keras may hand them over as floats.
            outputs: of the network, shape (rows, outputs).

        Returns:
            Shape (rows,), float32.
        """

    @property
    @abstractmethod
    def tally_size(self) -> int:
        """How many numbers `tally` gives for an example."""

    @abstractmethod
    def tally(self, targets: Tensor, outputs: Tensor) -> Tensor:
        """What an example adds to the sums that `figures` are made of. Sums, so that workers' can be added up.

        Returns:
            Shape (rows, tally_size), float32.
        """

    @abstractmethod
    def figures(self, sums: NDArray[np.float64], rows: float) -> dict[str, float]:
        """Figures of an epoch beside the loss; `score` is among them.

        Args:
            sums: tallies added up over all examples of all workers, shape (tally_size,).
            rows: how many examples that were.
        """

    def row_weights(self, targets: Targets, class_weights: str) -> NDArray[np.float32] | None:
        """Weight of each training example, 1 on average; None for 1 throughout.

        Args:
            targets: of the training data.
            class_weights: as the spec says.
        """
        del targets, class_weights
        return None

    # Predictions

    @abstractmethod
    def predictions(self, outputs: Tensor) -> Tensor:
        """What the bundle answers with, shape (rows, names), float32."""

    @abstractmethod
    def finish(self, outputs: Any) -> Any:
        """The same as stock Keras layers on top of a symbolic output; the last one is called `scores`."""

    def settled(self, predictions: NDArray[np.float32], targets: Targets) -> Target:
        """The same with what is chosen on validation data, such as thresholds.

        Args:
            predictions: of the validation data by the finished network.
            targets: its targets.
        """
        del predictions, targets
        return self

    def adjusted(self, predictions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predictions of the network as it was trained, as the bundle will give them: calibrated, for example.

        Args:
            predictions: what `predictions` gave, shape (rows, outputs).
        """
        return predictions

    @property
    def calibration(self) -> Calibration | None:
        """How scores were made to say how often they are right; None where they were left as they are."""
        return None

    @property
    def settled_words(self) -> tuple[str, ...]:
        """What `settled` chose, in sentences."""
        return ()

    # Assessment

    @abstractmethod
    def metrics(self, predictions: NDArray[np.float32], targets: Targets) -> TestMetrics:
        """Judge the predictions of a test set.

        Raises:
            PermanentError: a prediction is not a number.
        """

    def right(self, predictions: NDArray[np.float32], targets: Targets) -> NDArray[np.bool_] | None:
        """Which examples are answered rightly, shape (examples,); None where answers are neither right nor wrong."""
        del predictions, targets
        return None

    def judging(self, output: OutputSignature, predictions: NDArray[np.float32]) -> Judged:
        """What judges another bundle's predictions of this job's examples.

        Args:
            output: what the other bundle gives.
            predictions: of the other bundle, shape (examples, its labels).

        Raises:
            NotComparableError: they answer something else.
        """
        del output, predictions
        raise NotComparableError(f"models that predict {NAMES_ARE[self.kind]} are compared by stored metrics only")

    def summed(self, predictions: NDArray[np.float32], targets: Targets, summary: Mapping[str, float]) -> Summed | None:
        """The figures of `metrics` as functions of sums over examples; None where there is no such form.

        Args:
            predictions: of a test set.
            targets: of the test set.
            summary: its figures.
        """
        del predictions, targets, summary
        return None

    def rests_on(self, metric: str, targets: Targets) -> int:
        """How many examples, at least 1, bear a figure: as many right answers make a perfect one no more certain.

        Args:
            metric: the figure.
            targets: of the test set.
        """
        del metric
        return len(targets)

    def range_of(self, metric: str) -> tuple[float, float]:
        """Lowest and highest value that a figure of the test set can have."""
        return RANGES.get(metric, (0.0, 1.0))

    @property
    @abstractmethod
    def reporting(self) -> Reporting:
        """How results are told."""

    def worst(self, predictions: NDArray[np.float32], targets: Targets, *, limit: int) -> Sequence[WrongAnswer]:
        """The gravest mistakes of a test set, gravest first; empty where there is no such thing.

        Args:
            predictions: of the test set.
            targets: of the test set.
            limit: at most this many.
        """
        del predictions, targets, limit
        return ()

    # Bundle

    @abstractmethod
    def signature(self) -> OutputSignature:
        """What the bundle's manifest says of the output."""

    @abstractmethod
    def words(self, target: Any) -> str:
        """An example's target in words, such as its class."""

    def truth_columns(self) -> dict[str, ColumnKind]:
        """Columns of a table of predictions that say what is right, by name."""
        return {"true_label": "text"}

    def truth_cells(self, target: Any) -> list[Cell]:
        """What is right for an example, in these columns."""
        return [self.words(target)]

    def spread(self, targets: Targets) -> list[str]:
        """A group for each example, such as its class; golden examples are picked from all groups."""
        return [self.words(target) for target in targets]

    def counts(self, targets: Targets) -> Mapping[str, int]:
        """Examples of each of the names; empty where examples cannot be counted like that."""
        del targets
        return {}
