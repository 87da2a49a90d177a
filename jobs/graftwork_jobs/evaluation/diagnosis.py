"""What a run's history and test metrics show, in plain words with figures and advice. Pure.

`diagnose` collects the findings of the phases (`phase_diagnosis`) and of the test sets (`data_diagnosis`) and adds the
verdict that all is well when nothing speaks against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from graftwork.spec.fine_tune_job import FineTuneJobSpec
from graftwork_jobs.evaluation.data_diagnosis import leak_findings
from graftwork_jobs.evaluation.findings import SEVERITIES, Finding
from graftwork_jobs.evaluation.history import EpochRecord, by_phase
from graftwork_jobs.evaluation.kinds import Reporting
from graftwork_jobs.evaluation.phase_diagnosis import phase_findings
from graftwork_jobs.evaluation.resampling import Interval
from graftwork_jobs.evaluation.slice_diagnosis import weak_slice
from graftwork_jobs.evaluation.slices import Slice

# Scores that differ by no more are called alike.
_FITS: Final = 0.05
# Notes by which the curves of training and validation, or of loss and score, parted.
_APART: Final = frozenset({"overfitting", "higher_score"})


@dataclass(frozen=True, kw_only=True)
class DiagnosisInput:
    """What a diagnosis looks at.

    Attributes:
        history: all epochs of all phases, in order.
        kept_epochs: which epoch's weights each phase ended with, by phase.
        reporting: how results of this target kind are told.
        test: metrics of the test set.
        extra_tests: metrics of the further test sets, by name.
        train_counts: training examples by class, where there are classes.
        train_examples: size of the training set; 0 when unknown.
        validation_examples: size of the validation set; 0 without one.
        leaked: examples of each test set that are in the training or validation data, too, the first one called `test`.
        slices: parts of the test set.
        intervals: 95 % confidence interval of each figure, by test set, the first one called `test`.
        spec: the job's spec; without it the advice cannot leave out what is already done.
    """

    history: tuple[EpochRecord, ...]
    kept_epochs: Mapping[str, int]
    reporting: Reporting
    test: Any
    extra_tests: Mapping[str, Any] = field(default_factory=dict)
    train_counts: Mapping[str, int] = field(default_factory=dict)
    train_examples: int = 0
    validation_examples: int = 0
    leaked: Mapping[str, int] = field(default_factory=dict)
    slices: tuple[Slice, ...] = ()
    intervals: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    spec: FineTuneJobSpec | None = None

    @property
    def kept_validation_score(self) -> float | None:
        """Validation score of the weights the run ended with."""
        phases = by_phase(self.history)
        if not phases:
            return None
        name, records = list(phases.items())[-1]
        kept = self.kept_epochs.get(name, records[-1].epoch)
        return next((record.val_score for record in records if record.epoch == kept), None)


def diagnose(given: DiagnosisInput) -> tuple[Finding, ...]:
    """Name what the run shows, gravest first, and among equals what makes figures say less; never empty.

    A run with neither problem nor warning gets the finding `healthy` first.
    """
    findings = [
        *leak_findings(given),
        *phase_findings(
            by_phase(given.history),
            kept_epochs=given.kept_epochs,
            guess=given.reporting.guess(given),
            score=given.reporting.score_words,
            score_key=given.reporting.score,
            train_examples=given.train_examples or sum(given.train_counts.values()),
            validation_examples=given.validation_examples,
            spec=given.spec,
        ),
        *given.reporting.findings(given),
        *_weak_slices(given),
    ]
    if all(finding.severity == "note" for finding in findings):
        return (_healthy(given, findings), *findings)
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def _weak_slices(given: DiagnosisInput) -> list[Finding]:
    reporting, test = given.reporting, given.test
    found = weak_slice(
        given.slices,
        score=reporting.slice_score,
        words=reporting.slice_words,
        whole=test.summary[reporting.slice_score],
        examples=test.examples,
    )
    return [] if found is None else [found]


def main_finding(findings: Sequence[Finding]) -> Finding:
    """The one to tell a person who reads only one."""
    return min(findings, key=lambda finding: SEVERITIES.index(finding.severity) if finding.severity != "good" else -1)


def _healthy(given: DiagnosisInput, notes: Sequence[Finding]) -> Finding:
    test = given.test.summary[given.reporting.score]
    validation, score = given.kept_validation_score, given.reporting.score_words
    evidence = f"The model reached a test {score} of {test:.3f}."
    if validation is not None and abs(validation - test) <= _FITS:
        evidence = f"The test {score} of {test:.3f} fits the validation {score} of {validation:.3f}."
    elif validation is not None:
        evidence = (
            f"The test {score} is {test:.3f} and the validation {score} {validation:.3f}: on so few examples chance "
            "explains that, and more of them would tell."
        )
    if validation is not None and not any(note.code in _APART for note in notes):
        evidence = f"Training and validation went together. {evidence}"
    return Finding(code="healthy", severity="good", title="A healthy run", evidence=evidence)
