"""Metrics and findings of a regression."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from graftwork.errors import PermanentError
from graftwork_jobs.evaluation.charts import predicted_over_true
from graftwork_jobs.evaluation.diagnosis import DiagnosisInput, diagnose
from graftwork_jobs.evaluation.findings import Finding
from graftwork_jobs.evaluation.number_metrics import number_metrics
from graftwork_jobs.evaluation.number_reporting import NumberReporting
from graftwork_jobs.evaluation.report import write_report
from graftwork_jobs.evaluation.report_content import ReportContent, TestReport
from tests.unit.jobs.evaluation.builders import epochs

NAMES = ("a", "b")
RANDOM = np.random.default_rng(1)
TRUTHS = RANDOM.normal(size=(50, 2)).astype(np.float32)
SAID = (TRUTHS + RANDOM.normal(size=(50, 2)) * 0.3).astype(np.float32)


def test_figures_of_each_number_and_their_means() -> None:
    """As by hand with NumPy."""
    metrics = number_metrics(SAID, TRUTHS, NAMES)
    error = SAID.astype(np.float64) - TRUTHS
    r2 = 1 - (error**2).sum(axis=0) / ((TRUTHS - TRUTHS.mean(axis=0, dtype=np.float64)) ** 2).sum(axis=0)
    assert [row.r2 for row in metrics.rows] == pytest.approx(list(r2), rel=1e-6)
    assert metrics.rows[1].rmse == pytest.approx(float(np.sqrt((error[:, 1] ** 2).mean())))
    assert metrics.summary == pytest.approx(
        {"r2": r2.mean(), "mae": np.abs(error).mean(), "rmse": np.sqrt((error**2).mean(axis=0)).mean()}
    )


def test_a_number_that_never_changes_has_no_r2() -> None:
    """It is left out of the table's R2, and the note names it."""
    truths = TRUTHS.copy()
    truths[:, 1] = 3.0
    metrics = number_metrics(SAID, truths, NAMES)
    assert metrics.rows[1].r2 is None
    assert "b" in metrics.notes[0]
    assert np.isfinite(metrics.summary["r2"])


def test_means_over_several_numbers_say_what_they_are() -> None:
    """Degrees and kilograms have no common mean; one number has its own."""
    assert number_metrics(SAID, TRUTHS, NAMES).notes == (
        "MAE and RMSE are means over 2 numbers: they say something where all have the same unit.",
    )
    assert number_metrics(SAID[:, :1], TRUTHS[:, :1], NAMES[:1]).notes == ()


def test_answers_that_are_no_numbers_are_refused() -> None:
    """As many as there are, with what to do."""
    broken = SAID.copy()
    broken[3, 0] = np.nan
    with pytest.raises(PermanentError, match="1 of 50 test examples"):
        number_metrics(broken, TRUTHS, NAMES)


def test_a_regression_is_diagnosed_by_its_r2() -> None:
    """A model no better than the mean learned nothing; an easier validation set and another domain are named."""
    weak = number_metrics(RANDOM.normal(size=(50, 2)).astype(np.float32) * 0.1, TRUTHS, NAMES)
    stuck = epochs("head", [1.0, 1.0], [1.0, 1.0], [0.0, 0.005], [0.0, 0.0])
    given = DiagnosisInput(
        history=stuck, kept_epochs={"head": 2}, reporting=NumberReporting(guess_loss=1.0), test=weak, train_examples=200
    )
    (found,) = [finding for finding in diagnose(given) if finding.severity == "problem"]
    assert "always giving the mean" in found.evidence
    good = number_metrics(SAID, TRUTHS, NAMES)
    learned = epochs("head", [0.5, 0.1], [0.5, 0.1], [0.5, 0.9], [0.5, 0.99])
    given = DiagnosisInput(
        history=learned,
        kept_epochs={"head": 2},
        reporting=NumberReporting(guess_loss=1.0),
        test=good,
        extra_tests={"elsewhere": weak},
    )
    assert "other_domain" in [finding.code for finding in diagnose(given)]


@pytest.mark.parametrize(
    ("below", "above", "said"), [(0.02, 0.02, True), (0.2, 0.2, False), (5.0, 0.02, True), (0.02, 0.2, False)]
)
def test_a_drop_within_what_chance_does_is_no_finding(below: float, above: float, said: bool) -> None:
    """Small test sets say little; their interval says how little, and it may reach far down and hardly up."""
    good = number_metrics(SAID, TRUTHS, NAMES)
    here = good.summary["r2"]
    validated = epochs("head", [0.5, 0.1], [0.5, 0.1], [0.5, 0.9], [0.5, here + 0.15])
    given = DiagnosisInput(
        history=validated,
        kept_epochs={"head": 2},
        reporting=NumberReporting(guess_loss=1.0),
        test=good,
        validation_examples=good.examples,
        intervals={"test": {"r2": (here - below, here + above)}},
    )
    found = {finding.code: finding for finding in diagnose(given)}
    assert ("validation_above_test" in found) is said
    if not said:
        assert "on so few examples chance explains that" in found["healthy"].evidence


def _learned(said: NDArray[np.float32], **intervals: tuple[float, float]) -> dict[str, Finding]:
    """Findings by code of a run whose training went well."""
    metrics = number_metrics(said, TRUTHS, NAMES)
    score = metrics.summary["r2"]
    given = DiagnosisInput(
        history=epochs("head", [0.5, 0.1], [0.5, 0.1], [0.5, score], [0.5, score]),
        kept_epochs={"head": 2},
        reporting=NumberReporting(guess_loss=1.0),
        test=metrics,
        intervals={"test": intervals},
    )
    return {finding.code: finding for finding in diagnose(given)}


def test_a_number_that_was_not_learnt_is_named() -> None:
    """The mean over the numbers hides it, and the run is not healthy."""
    said = SAID.copy()
    said[:, 1] = -TRUTHS[:, 1] * 0.1
    found = _learned(said)
    assert "healthy" not in found
    assert found["number_not_learned"].title == "Not learned: b"
    assert "for a" not in found["number_not_learned"].evidence


@pytest.mark.parametrize(("low", "healthy"), [(-0.2, False), (0.0, False), (0.1, True)])
def test_an_interval_that_reaches_the_mean_is_no_proof_of_health(low: float, healthy: bool) -> None:
    """Whether the model is better than the mean is then open."""
    found = _learned(SAID, r2=(low, 0.99))
    assert ("healthy" in found) is healthy
    assert ("perhaps_the_mean" in found) is not healthy


def test_a_report_of_numbers_shows_table_and_chart(tmp_path: Path) -> None:
    """The page names every number; the chart of predicted over true values stands beside it."""
    metrics = number_metrics(SAID, TRUTHS, NAMES)
    reporting = NumberReporting(guess_loss=1.0)
    content = ReportContent(
        job="angles",
        task="image-regression",
        reporting=reporting,
        run_id="r",
        created_at="2026-01-02T03:04:05Z",
        spec_yaml="",
        phases=(),
        history=(),
        findings=(),
        tests=(TestReport(name="test", metrics=metrics, baseline={"r2": 0.1, "mae": 1.0}),),
    )
    page = write_report(content, tmp_path / "report").read_text()
    assert f"{metrics.summary['r2']:.3f}" in page
    assert "image regression" in page
    assert (tmp_path / "report" / "predicted_over_true.png").read_bytes() == predicted_over_true(metrics)
