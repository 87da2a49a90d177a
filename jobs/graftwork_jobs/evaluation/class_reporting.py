"""How results of a classifier are told: accuracy, confusion matrix, table of classes, calibration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from graftwork_jobs.evaluation.charts import Theme, confusion_matrix, reliability_diagram
from graftwork_jobs.evaluation.data_diagnosis import data_findings
from graftwork_jobs.evaluation.findings import Finding
from graftwork_jobs.evaluation.kinds import Guess
from graftwork_jobs.evaluation.metrics import ClassificationMetrics, ClassMetrics
from graftwork_jobs.evaluation.mistakes import ConfusedPair, ConfusionView, confused_pairs, confusion_view

if TYPE_CHECKING:
    from graftwork_jobs.evaluation.diagnosis import DiagnosisInput

CONFUSION_CLASSES: Final = 24
"""A confusion matrix shows at most this many classes: as many as fit a page."""
CLASS_ROWS: Final = 40
"""A table of classes shows at most this many, the worst first."""
CONFUSED_PAIRS: Final = 12


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of a confusion matrix: examples, and their share of the true class."""

    examples: int
    share: float
    right: bool


@dataclass(frozen=True, kw_only=True)
class ClassView:
    """One test set as the page shows it."""

    confusion: ConfusionView
    cells: list[list[Cell]]
    pairs: tuple[ConfusedPair, ...]
    class_rows: list[ClassMetrics]
    classes_cut: int


class ClassReporting:
    """One class of several."""

    second = "f1_macro"
    score = slice_score = "accuracy"
    score_words = slice_words = "accuracy"
    details = "Classes and calibration"
    template = "classes.html.j2"
    titles: Mapping[str, str] = {
        "accuracy": "Accuracy",
        "top5_accuracy": "Top-5 accuracy",
        "precision_macro": "Precision, macro",
        "recall_macro": "Recall, macro",
        "f1_macro": "F1, macro",
        "auc_macro": "AUC, macro",
        "loss": "Log loss",
        "ece": "Calibration error",
    }

    def guess(self, given: DiagnosisInput) -> Guess:
        """Always naming the most frequent class; a loss of the entropy of their frequencies."""
        counts = [count for count in given.train_counts.values() if count] or [1] * len(given.test.labels)
        shares = [count / sum(counts) for count in counts]
        entropy = -sum(share * math.log(share) for share in shares)
        return Guess(score=max(shares), loss=entropy, how="always naming the most frequent class")

    def view(self, metrics: ClassificationMetrics) -> ClassView:
        """Confusion matrix, most frequent mistakes, table of classes."""
        view = confusion_view(metrics.confusion, metrics.labels, limit=CONFUSION_CLASSES)
        # Worst first; classes without examples last, for there is nothing to say of them.
        ordered = sorted(metrics.per_class, key=lambda row: (row.f1 is None, row.f1 or 0.0, row.label))
        return ClassView(
            confusion=view,
            cells=_cells(view),
            pairs=confused_pairs(metrics.confusion, metrics.labels, limit=CONFUSED_PAIRS),
            class_rows=ordered[:CLASS_ROWS],
            classes_cut=max(0, len(ordered) - CLASS_ROWS),
        )

    def charts(self, metrics: ClassificationMetrics, theme: Theme) -> dict[str, bytes]:
        """Confusion matrix and calibration."""
        view = confusion_view(metrics.confusion, metrics.labels, limit=CONFUSION_CLASSES)
        return {
            "confusion_matrix": confusion_matrix(view, theme),
            "calibration": reliability_diagram(metrics.calibration, theme),
        }

    def findings(self, given: DiagnosisInput) -> list[Finding]:
        """Weak classes, a validation set that flatters, another domain, overconfidence."""
        return data_findings(
            given.test,
            extra_tests=given.extra_tests,
            train_counts=given.train_counts,
            kept_validation_accuracy=given.kept_validation_score,
            validation_examples=given.validation_examples,
            spec=given.spec,
        )


def _cells(view: ConfusionView) -> list[list[Cell]]:
    return [
        [_cell(view, row, column, examples, support=sum(counts)) for column, examples in enumerate(counts)]
        for row, counts in enumerate(view.matrix.tolist())
    ]


def _cell(view: ConfusionView, row: int, column: int, examples: int, *, support: int) -> Cell:
    # Where the classes left out meet, right and wrong are mixed: such a cell gets no colour.
    is_mixed = bool(view.left_out) and row == column == len(view.labels) - 1
    share = 0.0 if is_mixed else examples / max(support, 1)
    return Cell(examples=examples, share=share, right=row == column)
