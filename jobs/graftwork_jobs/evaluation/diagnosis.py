"""What a run's history and test metrics show, in plain words with figures and advice. Pure.

`diagnose` collects the findings of the phases (`phase_diagnosis`) and of the test sets (`data_diagnosis`) and adds the
verdict that all is well when nothing speaks against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from graftwork.spec.fine_tune_job import FineTuneJobSpec
from graftwork_jobs.evaluation.data_diagnosis import data_findings
from graftwork_jobs.evaluation.findings import SEVERITIES, Finding
from graftwork_jobs.evaluation.history import EpochRecord, by_phase
from graftwork_jobs.evaluation.metrics import ClassificationMetrics
from graftwork_jobs.evaluation.phase_diagnosis import phase_findings


@dataclass(frozen=True, kw_only=True)
class DiagnosisInput:
    """What a diagnosis looks at.

    Attributes:
        history: all epochs of all phases, in order.
        kept_epochs: which epoch's weights each phase ended with, by phase.
        test: metrics of the test set.
        extra_tests: metrics of the further test sets, by name.
        train_counts: training examples by class.
        validation_examples: size of the validation set; 0 without one.
        spec: the job's spec; without it the advice cannot leave out what is already done.
    """

    history: tuple[EpochRecord, ...]
    kept_epochs: Mapping[str, int]
    test: ClassificationMetrics
    extra_tests: Mapping[str, ClassificationMetrics] = field(default_factory=dict)
    train_counts: Mapping[str, int] = field(default_factory=dict)
    validation_examples: int = 0
    spec: FineTuneJobSpec | None = None


def diagnose(given: DiagnosisInput) -> tuple[Finding, ...]:
    """Name what the run shows, gravest first; never empty.

    A run with neither problem nor warning gets the finding `healthy` first.
    """
    findings = [
        *phase_findings(
            by_phase(given.history),
            kept_epochs=given.kept_epochs,
            classes=len(given.test.labels),
            train_counts=given.train_counts,
            validation_examples=given.validation_examples,
            spec=given.spec,
        ),
        *data_findings(
            given.test,
            extra_tests=given.extra_tests,
            train_counts=given.train_counts,
            kept_validation_accuracy=kept_validation_accuracy(given.history, given.kept_epochs),
            validation_examples=given.validation_examples,
            spec=given.spec,
        ),
    ]
    if all(finding.severity == "note" for finding in findings):
        return (_healthy(given), *findings)
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def main_finding(findings: Sequence[Finding]) -> Finding:
    """The one to tell a person who reads only one."""
    return min(findings, key=lambda finding: SEVERITIES.index(finding.severity) if finding.severity != "good" else -1)


def kept_validation_accuracy(history: Sequence[EpochRecord], kept_epochs: Mapping[str, int]) -> float | None:
    """Validation accuracy of the weights the run ended with."""
    phases = by_phase(history)
    if not phases:
        return None
    name, records = list(phases.items())[-1]
    kept = kept_epochs.get(name, records[-1].epoch)
    return next((record.val_accuracy for record in records if record.epoch == kept), None)


def _healthy(given: DiagnosisInput) -> Finding:
    test = given.test.summary["accuracy"]
    validation = kept_validation_accuracy(given.history, given.kept_epochs)
    evidence = f"The model reached a test accuracy of {test:.3f}."
    if validation is not None:
        evidence = (
            f"Training and validation went together, and the test accuracy of {test:.3f} fits the validation accuracy "
            f"of {validation:.3f}."
        )
    return Finding(code="healthy", severity="good", title="A healthy run", evidence=evidence)
