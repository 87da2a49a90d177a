"""What a trained network is worth: metrics of every test set, diagnosis, gates, and all of it as a report's content.

Takes what training left behind and what the plan knew; decides nothing about what happens next.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from numpy.typing import NDArray

from graftwork import __version__
from graftwork.data_files.fetch import local_path
from graftwork.spec.job_training import KerasBackend
from graftwork.spec.tasks import input_kind
from graftwork_jobs.data.audit import leaked_counts
from graftwork_jobs.evaluation.comparison import Comparison, NotCompared, worth_telling
from graftwork_jobs.evaluation.diagnosis import DiagnosisInput, diagnose
from graftwork_jobs.evaluation.gates import GateResult
from graftwork_jobs.evaluation.history import read_history
from graftwork_jobs.evaluation.kinds import TestMetrics
from graftwork_jobs.evaluation.report_content import Mistake, PhaseSummary, ReportContent, ServeStep, TestReport
from graftwork_jobs.evaluation.resampling import Interval, intervals, resampled
from graftwork_jobs.evaluation.slices import Slice, slices_of
from graftwork_jobs.features.usage import usage_by_phase
from graftwork_jobs.input_plan import TextFacts, words_for

if TYPE_CHECKING:
    from graftwork.spec.fine_tune_job import FineTuneJob
    from graftwork_jobs.events import Event
    from graftwork_jobs.plan import Plan, PlannedJob
    from graftwork_jobs.search.records import SearchResult
    from graftwork_jobs.targets.base import Target, Targets
    from graftwork_jobs.train.request import TrainResult

# Libraries whose versions decide the result of a run.
_DECIDING_LIBRARIES = ("keras", "keras-hub", "tensorflow", "numpy", "pillow", "tokenizers", "ray", "openvino")
_TEST = "test"
_VALIDATION = "validation"
_MISTAKES_SHOWN = 12
# Enough of a digest to tell files apart; the lineage holds all of it.
_DIGEST_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """What a training run came to.

    Attributes:
        tests: metrics by test set; `test` first.
        predictions: by test set, as the bundle will give them, shape (examples, outputs), float32.
        target: what the model predicts, with what was chosen on the validation data.
        targets: what is right, by test set.
        uncalibrated: metrics of the network as it was trained, by test set; empty where nothing was calibrated.
        intervals: 95 % confidence interval of each figure, by test set.
        slices: parts of the test set.
    """

    tests: dict[str, TestMetrics]
    predictions: dict[str, np.ndarray[Any, np.dtype[np.float32]]]
    target: Target
    targets: dict[str, NDArray[Any]]
    uncalibrated: dict[str, TestMetrics]
    intervals: dict[str, dict[str, Interval]]
    slices: tuple[Slice, ...] = ()

    @property
    def test(self) -> TestMetrics:
        """Metrics of the test set, the ones gates look at."""
        return self.tests[_TEST]

    @property
    def summaries(self) -> dict[str, dict[str, float]]:
        """Summary metrics by test set."""
        return {name: dict(metrics.summary) for name, metrics in self.tests.items()}


def assess(
    result: TrainResult, target: Target, slices: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> Assessment:
    """Compute the metrics of every test set from the predictions that training wrote.

    Args:
        result: of the training.
        target: what the model predicts.
        slices: values of the columns by which the test set is cut, by column.
    """
    raw = {name: _arrays(file) for name, file in result.predictions.items()}
    trained = target
    if _VALIDATION in raw:
        target = target.settled(*raw.pop(_VALIDATION))
    stored = {name: (target.adjusted(predictions), targets) for name, (predictions, targets) in raw.items()}
    tests = {name: target.metrics(predictions, targets) for name, (predictions, targets) in stored.items()}
    return Assessment(
        tests=tests,
        predictions={name: predictions for name, (predictions, _) in stored.items()},
        target=target,
        targets={name: targets for name, (_, targets) in stored.items()},
        uncalibrated={name: trained.metrics(*raw[name]) for name in tests} if target.calibration else {},
        intervals={name: _intervals(target, *stored[name], metrics) for name, metrics in tests.items()},
        slices=slices_of(target, *stored[_TEST], slices) if slices else (),
    )


def _intervals(
    target: Target, predictions: NDArray[np.float32], targets: Targets, metrics: TestMetrics
) -> dict[str, Interval]:
    draws = resampled(target, predictions, targets, metrics.summary)
    return intervals(target, draws, metrics.summary, targets)


def _arrays(file: Path) -> tuple[np.ndarray[Any, np.dtype[np.float32]], np.ndarray[Any, Any]]:
    with np.load(file, allow_pickle=False) as stored:
        return stored["predictions"], stored["targets"]


def report_content(
    job: FineTuneJob,
    planned: PlannedJob,
    result: TrainResult,
    assessment: Assessment,
    *,
    run_id: str,
    gates: tuple[GateResult, ...],
    compared: Mapping[str, Comparison | NotCompared],
    baseline: Mapping[str, Mapping[str, float]],
    events: Sequence[Event],
    data_cache_dir: Path,
    search: SearchResult | None = None,
) -> ReportContent:
    """Gather everything a report tells.

    Args:
        job: the spec.
        planned: what the plan found.
        result: of the training.
        assessment: of the test sets.
        run_id: the run.
        gates: their results.
        compared: with registered models on the test set, by alias.
        baseline: summary metrics of the job on random weights, by test set; empty if there was none.
        events: of the training, in order.
        data_cache_dir: where local copies of remote pictures are.
        search: what the search that found the spec came to; None without one.
    """
    plan, features = planned.plan, usage_by_phase(events)
    preflights: dict[str, float] = {}
    for event in events:
        if event["kind"] == "preflight":
            preflights[event["phase"]] = preflights.get(event["phase"], 0.0) + event["seconds"]
    reporting = assessment.target.reporting
    history = read_history([_with_rate(record) for record in result.history], reporting.score)
    kept = {phase["name"]: phase["best_epoch"] for phase in result.trained_phases}
    findings = diagnose(
        DiagnosisInput(
            history=history,
            kept_epochs=kept,
            reporting=reporting,
            test=assessment.test,
            extra_tests={name: assessment.tests[name] for name in (each.name for each in job.spec.data.extra_tests)},
            train_counts=plan.counts["train"],
            train_examples=len(planned.index.splits["train"]),
            validation_examples=len(planned.index.splits["validation"]),
            leaked=leaked_counts(
                planned.scan.leaks, {name: split.digests for name, split in planned.index.splits.items()}
            ),
            spec=job.spec,
            slices=assessment.slices,
            intervals=assessment.intervals,
        )
    )
    return ReportContent(
        job=plan.job,
        task=plan.task,
        reporting=reporting,
        run_id=run_id,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        spec_yaml=yaml.safe_dump(job.model_dump(mode="json", by_alias=True, exclude_unset=True), sort_keys=False),
        facts=_facts(plan),
        phases=tuple(
            PhaseSummary(
                name=phase.name,
                unfreeze=phase.unfreeze,
                learning_rate=phase.learning_rate,
                epochs=phase.epochs,
                kept_epoch=kept[phase.name],
                trainable_parameters=phase.trainable_parameters,
                total_parameters=phase.total_parameters,
                features=features.get(phase.name),
                preflight_s=preflights.get(phase.name),
            )
            for phase in plan.phases
        ),
        history=history,
        findings=findings,
        tests=tuple(
            TestReport(
                name=name,
                metrics=metrics,
                baseline=baseline.get(name),
                intervals=assessment.intervals[name],
                before=assessment.uncalibrated.get(name),
            )
            for name, metrics in assessment.tests.items()
        ),
        gates=gates,
        compared=tuple(worth_telling(compared)),
        slices=assessment.slices,
        settled=assessment.target.settled_words,
        mistakes=tuple(_mistakes(planned, assessment, data_cache_dir)),
        warnings=plan.warnings,
        timings={name.removesuffix("_s").replace("_", " "): seconds for name, seconds in result.timings.items()},
        environment=environment(job.spec.training.backend),
        lineage={"data digest": plan.data_digest, "backbone digest": plan.backbone["digest"], "run": run_id},
        serve=_serve_steps(job) if all(gate.passed for gate in gates) else (),
        search=search,
    )


def library_versions(backend: KerasBackend) -> dict[str, str]:
    """Versions of Python, Graftwork and the libraries that decide the result of a job on a backend."""
    names = (*_DECIDING_LIBRARIES, *(("jax", "jaxlib") if backend == "jax" else ()))
    return {
        "python": platform.python_version(),
        "graftwork": __version__,
        **{name: importlib.metadata.version(name) for name in names},
    }


def environment(backend: KerasBackend) -> dict[str, str]:
    """Versions and hardware, for the report."""
    machine = f"{platform.system()} {platform.machine()}, {len(os.sched_getaffinity(0))} CPUs"
    return {"machine": machine, **library_versions(backend)}


def installed_packages() -> dict[str, str]:
    """Version of every installed distribution, by name."""
    return dict(sorted((found.name, found.version) for found in importlib.metadata.distributions()))


def _with_rate(record: Mapping[str, Any]) -> dict[str, Any]:
    return {**record, "examples_per_s": record.get("images_per_s")}


def _facts(plan: Plan) -> dict[str, str]:
    return {
        "backbone": f"{plan.backbone['source']} (weights: {plan.backbone['weights'][:_DIGEST_SHOWN]})",
        "input": words_for(plan.image_size, plan.texts),
        plan.names_are: str(len(plan.labels)),
        **{f"{split} examples": f"{size:,}" for split, size in plan.sizes.items()},
        **_truncated(plan.texts),
        "workers": str(plan.workers),
        "examples per weight update": str(plan.batch_size),
    }


def _truncated(texts: TextFacts | None) -> dict[str, str]:
    if texts is None:
        return {}
    counts = ", ".join(f"{split} {count:,}" for split, count in texts.truncated.items())
    return {f"texts cut off at {texts.max_tokens} tokens": counts}


def _mistakes(planned: PlannedJob, assessment: Assessment, data_cache_dir: Path) -> list[Mistake]:
    """The gravest mistakes on the test set, with their pictures or texts."""
    split = planned.index.splits[_TEST]
    worst = assessment.target.worst(assessment.predictions[_TEST], split.targets, limit=_MISTAKES_SHOWN)
    is_text = input_kind(planned.plan.task) == "text"
    return [
        Mistake(
            picture=b"" if is_text else local_path(split.inputs[wrong.row], data_cache_dir).read_bytes(),
            text=split.inputs[wrong.row] if is_text else None,
            label=wrong.truth,
            predicted=wrong.said,
            score=wrong.score,
            true_score=wrong.true_score,
            source=f"row {wrong.row + 1} of the test data" if is_text else split.inputs[wrong.row],
            test=_TEST,
        )
        for wrong in worst
    ]


def _serve_steps(job: FineTuneJob) -> tuple[ServeStep, ...]:
    if job.spec.register_ is None:
        return ()
    model = job.spec.register_.model
    reference = f"{model}@{job.spec.register_.alias}" if job.spec.register_.alias else f"{model}/VERSION"
    example = '--text "..."' if input_kind(job.spec.task) == "text" else "picture.jpg"
    return (
        ServeStep(text="See the registered versions", command=f"graft models show {model}"),
        ServeStep(
            text="Serve it: put this into endpoint.yaml, then run graft serve endpoint.yaml",
            command="apiVersion: graftwork.dev/v1alpha1\nkind: InferenceEndpoint\n"
            f"metadata: {{name: {model}}}\nspec:\n  models: [{{model: {reference}}}]",
        ),
        ServeStep(text="Ask it", command=f"graft predict {model} {example}"),
    )
