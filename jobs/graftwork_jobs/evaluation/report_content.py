"""What a report tells: plain immutable data, gathered by the caller. How it looks is decided elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from graftwork_jobs.evaluation.comparison import Comparison, NotCompared
from graftwork_jobs.evaluation.findings import Finding
from graftwork_jobs.evaluation.gates import GateResult
from graftwork_jobs.evaluation.history import EpochRecord
from graftwork_jobs.evaluation.kinds import Reporting, TestMetrics
from graftwork_jobs.evaluation.resampling import Interval
from graftwork_jobs.evaluation.slices import Slice
from graftwork_jobs.features.usage import FeatureUsage
from graftwork_jobs.search.records import SearchResult


@dataclass(frozen=True, kw_only=True)
class PhaseSummary:
    """One phase as it was planned and ended.

    Attributes:
        name: of the phase.
        unfreeze: what trained in the backbone, as the spec says it.
        learning_rate: at its start.
        epochs: at most this many.
        kept_epoch: whose weights the phase ended with, 1-based.
        trainable_parameters: numbers that changed.
        total_parameters: numbers in the whole network.
        features: how it came by the outputs of its frozen trunk; None when it computed them in every step.
        preflight_s: seconds spent on comparing its workers with one; None when there was nothing to compare.
    """

    name: str
    unfreeze: str
    learning_rate: float
    epochs: int
    kept_epoch: int
    trainable_parameters: int
    total_parameters: int
    features: FeatureUsage | None = None
    preflight_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class TestReport:
    """One test set.

    Attributes:
        name: `test`, or the further test set's name.
        metrics: of the model.
        baseline: summary of the same job on random weights; None when that was not asked for.
        intervals: 95 % confidence interval of each figure of the model.
        before: metrics of the network before its scores were calibrated; None where they were left as they are.
    """

    # Not a test, whatever pytest makes of the name.
    __test__ = False

    name: str
    metrics: TestMetrics
    baseline: Mapping[str, float] | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    before: TestMetrics | None = None

    def gain(self, metric: str) -> float | None:
        """How much of a metric was gained over random weights."""
        return None if self.baseline is None else self.metrics.summary[metric] - self.baseline[metric]


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A wrong prediction with what it was about.

    Attributes:
        picture: the file's content, in any format the job reads; empty for a text.
        text: the text; None for a picture.
        label: what is right, such as the true class.
        predicted: what the model said.
        score: how sure it was; None where models of this kind do not say.
        true_score: score of what is right; None as above.
        source: where it came from.
        test: name of the test set.
    """

    picture: bytes
    label: str
    predicted: str
    score: float | None
    true_score: float | None
    source: str
    test: str
    text: str | None = None


@dataclass(frozen=True, kw_only=True)
class ServeStep:
    """One command that puts the model to use.

    Attributes:
        text: what it does.
        command: to be copied into a shell.
    """

    text: str
    command: str


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """Everything a report holds.

    Attributes:
        job: name of the job.
        task: what the model does.
        reporting: how results of its target kind are told.
        run_id: the run.
        created_at: UTC time, ISO 8601.
        spec_yaml: the job's spec.
        facts: what the plan found, in order, such as backbone, pictures, classes.
        phases: in the order they ran.
        history: all epochs.
        findings: the diagnosis, gravest first.
        tests: the test set first, then the further ones.
        gates: their results, in the order of the spec.
        compared: with registered models on the test set.
        slices: parts of the test set.
        settled: what was chosen on the validation data after training, in sentences.
        mistakes: most confident first.
        warnings: what the plan or the run warned of.
        timings: seconds by stage, in order.
        environment: versions and hardware.
        lineage: digests and identities of what went in.
        serve: how to use the model.
        search: what the search that found the spec came to; None without one.
    """

    job: str
    task: str
    reporting: Reporting
    run_id: str
    created_at: str
    spec_yaml: str
    phases: tuple[PhaseSummary, ...]
    history: tuple[EpochRecord, ...]
    findings: tuple[Finding, ...]
    tests: tuple[TestReport, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    gates: tuple[GateResult, ...] = ()
    compared: tuple[Comparison | NotCompared, ...] = ()
    slices: tuple[Slice, ...] = ()
    settled: tuple[str, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    warnings: tuple[str, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    lineage: Mapping[str, str] = field(default_factory=dict)
    serve: tuple[ServeStep, ...] = ()
    search: SearchResult | None = None

    @property
    def kept_epochs(self) -> dict[str, int]:
        """The epoch whose weights each phase ended with."""
        return {phase.name: phase.kept_epoch for phase in self.phases}
