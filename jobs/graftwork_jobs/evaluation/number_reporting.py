"""How results of a regression are told: R2, errors of each number, predicted over true values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from graftwork_jobs.evaluation.charts import Theme, predicted_over_true
from graftwork_jobs.evaluation.data_diagnosis import score_drops
from graftwork_jobs.evaluation.findings import Finding
from graftwork_jobs.evaluation.kinds import Guess
from graftwork_jobs.evaluation.number_diagnosis import mean_findings
from graftwork_jobs.evaluation.number_metrics import NumberMetrics

if TYPE_CHECKING:
    from graftwork_jobs.evaluation.diagnosis import DiagnosisInput


class NumberReporting:
    """Numbers."""

    score = "r2"
    score_words = "R²"
    second = "mae"
    slice_score = "mae"
    slice_words = "mean absolute error"
    details = "Numbers"
    template = "numbers.html.j2"
    titles: Mapping[str, str] = {"r2": "R²", "mae": "Mean absolute error", "rmse": "Root mean squared error"}

    def __init__(self, *, guess_loss: float) -> None:
        self._guess_loss = guess_loss

    def guess(self, given: DiagnosisInput) -> Guess:
        """Always giving the mean."""
        del given
        return Guess(score=0.0, loss=self._guess_loss, how="always giving the mean")

    def view(self, metrics: NumberMetrics) -> NumberMetrics:
        """The table of numbers."""
        return metrics

    def charts(self, metrics: NumberMetrics, theme: Theme) -> dict[str, bytes]:
        """Predicted over true values."""
        return {"predicted_over_true": predicted_over_true(metrics, theme)}

    def findings(self, given: DiagnosisInput) -> list[Finding]:
        """Numbers that were not learnt, a validation set that flatters, another domain."""
        return [*mean_findings(given), *score_drops(given, "r2", "R²")]
