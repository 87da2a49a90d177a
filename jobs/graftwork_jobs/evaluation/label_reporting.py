"""How results of a multi-label classifier are told: F1, a table of labels, precision over recall."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from graftwork_jobs.evaluation.charts import Theme, precision_over_recall, reliability_diagram
from graftwork_jobs.evaluation.data_diagnosis import score_drops
from graftwork_jobs.evaluation.findings import Finding
from graftwork_jobs.evaluation.kinds import Guess
from graftwork_jobs.evaluation.label_metrics import LabelMetrics, LabelRow

if TYPE_CHECKING:
    from graftwork_jobs.evaluation.diagnosis import DiagnosisInput

LABEL_ROWS: Final = 60
"""A table of labels shows at most this many, the worst first."""


@dataclass(frozen=True, kw_only=True)
class LabelView:
    """One test set as the page shows it."""

    rows: tuple[LabelRow, ...]
    cut: int


class LabelReporting:
    """Any number of labels."""

    score = slice_score = "f1_macro"
    score_words = slice_words = "macro F1"
    second = "map"
    details = "Labels"
    template = "labels.html.j2"
    titles: Mapping[str, str] = {
        "f1_macro": "F1, macro",
        "f1_micro": "F1, micro",
        "map": "Mean average precision",
        "precision_macro": "Precision, macro",
        "recall_macro": "Recall, macro",
        "exact_match": "All labels right",
        "loss": "Log loss",
        "ece": "Calibration error",
    }

    def __init__(self, *, share: NDArray[np.float64]) -> None:
        """From the share of training examples that have each label."""
        self._share = share

    def guess(self, given: DiagnosisInput) -> Guess:
        """Giving each label to all or none; a loss of the labels' entropy."""
        del given
        share = self._share
        entropy = -(share * np.log(share) + (1 - share) * np.log1p(-share))
        return Guess(
            score=float((2 * share / (1 + share))[share >= 0.5].sum() / len(share)),  # noqa: PLR2004 (one half)
            loss=float(entropy.mean()),
            how="giving every example the labels that most have",
        )

    def view(self, metrics: LabelMetrics) -> LabelView:
        """The table of labels, worst first; labels without examples last."""
        ordered = sorted(metrics.rows, key=lambda row: (row.f1 is None, row.f1 or 0.0, row.label))
        return LabelView(rows=tuple(ordered[:LABEL_ROWS]), cut=max(0, len(ordered) - LABEL_ROWS))

    def charts(self, metrics: LabelMetrics, theme: Theme) -> dict[str, bytes]:
        """Precision over recall, and calibration."""
        return {
            "precision_over_recall": precision_over_recall(metrics, theme),
            "calibration": reliability_diagram(
                metrics.calibration, theme, said="probability", held="share that has it", counted="answers"
            ),
        }

    def findings(self, given: DiagnosisInput) -> list[Finding]:
        """A validation set that flatters, another domain."""
        return score_drops(given, "f1_macro", "Macro F1")
