"""How results of a regression are told: R2, errors of each number, predicted over true values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from graftwork_jobs.evaluation import advice
from graftwork_jobs.evaluation.charts import Theme, predicted_over_true
from graftwork_jobs.evaluation.findings import Finding
from graftwork_jobs.evaluation.kinds import Guess
from graftwork_jobs.evaluation.number_metrics import NumberMetrics

if TYPE_CHECKING:
    from graftwork_jobs.evaluation.diagnosis import DiagnosisInput

# A tenth of the variance is beyond what a draw of a hundred examples does to R2.
_CLEAR_DROP: Final = 0.1


class NumberReporting:
    """Numbers."""

    score = "r2"
    score_words = "R²"
    second = "mae"
    details = "Numbers"
    template = "numbers.html.j2"
    titles: Mapping[str, str] = {"r2": "R²", "mae": "Mean absolute error", "rmse": "Root mean squared error"}

    def __init__(self, *, guess_loss: float) -> None:
        self._guess_loss = guess_loss

    def guess(self, given: DiagnosisInput) -> Guess:
        """Always giving the mean."""
        del given
        return Guess(score=0.0, loss=self._guess_loss, how="always giving the mean")

    def interval(self, metrics: NumberMetrics) -> None:
        """None is given."""
        del metrics

    def view(self, metrics: NumberMetrics) -> NumberMetrics:
        """The table of numbers."""
        return metrics

    def charts(self, metrics: NumberMetrics, theme: Theme) -> dict[str, bytes]:
        """Predicted over true values."""
        return {"predicted_over_true": predicted_over_true(metrics, theme)}

    def findings(self, given: DiagnosisInput) -> list[Finding]:
        """A validation set that flatters, another domain."""
        here: float = given.test.summary["r2"]
        validation = given.kept_validation_score
        found = []
        if validation is not None and validation - here > _CLEAR_DROP:
            found.append(
                Finding(
                    code="validation_above_test",
                    severity="warning",
                    title="The validation data flatters",
                    evidence=f"R² is {validation:.3f} on validation and {here:.3f} on test.",
                    advice=advice.AGAINST_FLATTERY,
                )
            )
        for name, metrics in given.extra_tests.items():
            there: float = metrics.summary["r2"]
            if here - there > _CLEAR_DROP:
                found.append(
                    Finding(
                        code="other_domain",
                        severity="warning",
                        title=f"Weaker on {name}",
                        evidence=f"R² falls from {here:.3f} on the test set to {there:.3f} on {name}.",
                        advice=advice.against_other_domain(name),
                    )
                )
        return found
