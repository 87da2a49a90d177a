"""A job from its spec to a registered bundle, top to bottom.

plan -> train on Ray -> evaluate -> gates -> report -> bundle -> registry. Every stage leaves its result in the run's
folder; a run that was cut off goes on from there, and one that came to its end answers for later ones of the same spec,
data, backbone and libraries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.bundle.directory import Bundle
from graftwork.bundle.manifest import BackboneRecord, Lineage
from graftwork.data_files.fetch import local_path
from graftwork.errors import PermanentError
from graftwork.registry.store import Registry
from graftwork.spec.fine_tune_job import FineTuneJob, Mirror
from graftwork.spec.tasks import input_kind
from graftwork_jobs import run_paths
from graftwork_jobs.assessment import (
    Assessment,
    assess,
    environment,
    installed_packages,
    library_versions,
    report_content,
)
from graftwork_jobs.champion import Newcomer, compare_with_registered
from graftwork_jobs.earlier_runs import (
    EarlierRun,
    fingerprint,
    opening,
    packed_bundle,
    was_judged_alike,
    what_stays,
    why_not_continued,
)
from graftwork_jobs.evaluation.comparison import Comparison, NotCompared
from graftwork_jobs.evaluation.gates import GateFacts, GateResult, check_gates
from graftwork_jobs.evaluation.report import write_report
from graftwork_jobs.evaluation.summary import summary_lines
from graftwork_jobs.events import read_events
from graftwork_jobs.export.bundle_writer import BundleRequest, write_bundle
from graftwork_jobs.export.golden import GoldenCandidate
from graftwork_jobs.model.network import inference_model
from graftwork_jobs.plan import PlannedJob, make_plan, plan_variant
from graftwork_jobs.prediction_tables import write_predictions
from graftwork_jobs.run_claim import claimed_run
from graftwork_jobs.run_paths import RunPaths
from graftwork_jobs.run_record import Recorder, recorded
from graftwork_jobs.search.records import SearchResult, search_lineage
from graftwork_jobs.search.run_search import PlannedTrial, is_over, run_search, trial_line
from graftwork_jobs.train.launch import train
from graftwork_jobs.train.local_ray import start_local_ray
from graftwork_jobs.train.ray_cluster import connected_ray
from graftwork_jobs.train.request import TrainRequest, TrainResult

if TYPE_CHECKING:
    from graftwork.progress import Reporter
    from graftwork.settings import Settings


class GateError(PermanentError):
    """The model was trained but does not meet a gate; nothing was registered."""


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """What a run gave; plain values only.

    Attributes:
        job: its name.
        run_id: its run.
        metrics: of the test set.
        extra_metrics: of each further test set.
        baseline: test metrics of the same job on random weights, by test set; empty if not asked for.
        report: HTML file.
        bundle: directory.
        model: registered name, if any.
        version: registered version, if any.
        alias: alias that points to it, if any.
        summary: what to tell a person.
        reused: whether an earlier run answers, so that nothing was trained.
        intervals: 95 % confidence interval of each figure, by test set.
    """

    job: str
    run_id: str
    metrics: dict[str, float]
    extra_metrics: dict[str, dict[str, float]]
    baseline: dict[str, dict[str, float]]
    report: str
    bundle: str
    model: str | None
    version: int | None
    alias: str | None
    summary: tuple[str, ...]
    reused: bool = False
    intervals: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)


def run_job(
    job: FineTuneJob,
    *,
    base_dir: Path,
    settings: Settings,
    reporter: Reporter,
    restart: bool = False,
    force: bool = False,
    written: str | None = None,
) -> RunOutcome:
    """Run a job to its end, go on with its unfinished run, or answer from a finished one that had the same inputs.

    Args:
        job: the job spec.
        base_dir: where the spec's relative paths start.
        settings: where runs, caches and the registry are.
        reporter: told how far the work is.
        restart: start afresh, whatever earlier runs there are.
        force: train again although a run with the same inputs was trained to its end; an unfinished one is continued.
        written: the file the job came from, kept with the run for `graft suggest`.

    Raises:
        SpecError: the job cannot work as it is.
        JobBusyError: another process is at it.
        GateError: trained, but not good enough.
        PermanentError: training failed for good, such as by a loss that is not a number.
    """
    planned = make_plan(job, base_dir=base_dir, settings=settings, reporter=reporter)
    for warning in planned.plan.warnings:
        reporter.warn(warning)
    identity = fingerprint(job, planned)
    with claimed_run(settings, job.metadata.name, identity, restart=restart, force=force) as claimed:
        paths, earlier = claimed.paths, claimed.earlier
        if earlier is not None and earlier.is_finished:
            answer = _standing_answer(job, earlier, Registry(settings, reporter))
            if answer is not None:
                reporter.say(opening(paths, earlier))
                return answer
        with recorded(paths, identity) as record:
            reporter.say(opening(paths, earlier))
            skipped = why_not_continued(settings, paths, job, planned) if earlier is None and not restart else None
            if skipped is not None:
                reporter.warn(skipped)
            _write_inputs(paths, job, planned)
            if written is not None:
                paths.source_file.write_text(written)
            outcome = _Run(job, base_dir, settings, reporter, paths, planned, record).to_the_end()
    return replace(outcome, reused=earlier is not None and earlier.is_finished)


def _standing_answer(job: FineTuneJob, earlier: EarlierRun, registry: Registry) -> RunOutcome | None:
    """What a finished run came to, if all of it still stands: report, bundle, version and alias as the spec wants them.

    None if something is to be made again: gates or registration changed, or what was registered is gone.
    """
    before = _outcome_of(earlier.state.result)
    bundle, register = packed_bundle(job, earlier.paths), job.spec.register_
    if bundle is None or not Path(before.report).is_file() or not was_judged_alike(job, earlier.paths):
        return None
    if register is not None:
        version = registry.version_of(bundle, register.model)
        if version is None or (register.alias is not None and register.alias not in version.aliases):
            return None
        before = replace(before, model=register.model, version=version.version, alias=register.alias)
    elif before.model is not None:
        return None
    return replace(before, reused=True)


def _outcome_of(result: Mapping[str, Any]) -> RunOutcome:
    """The outcome that a run's state holds."""
    return RunOutcome(**{**result, "summary": tuple(result["summary"])})


def _write_inputs(paths: RunPaths, job: FineTuneJob, planned: PlannedJob) -> None:
    run_paths.write_json(paths.spec_file, job.model_dump(mode="json", by_alias=True, exclude_none=True))
    run_paths.write_json(paths.plan_file, planned.plan.as_dict())
    planned.index.save(paths.index_file)
    # A run that goes on keeps what it began with: that is what made its weights.
    if not paths.environment_file.exists():
        run_paths.write_json(
            paths.environment_file, {**environment(job.spec.training.backend), "packages": installed_packages()}
        )


@dataclass(frozen=True)
class _Run:
    """One run, stage by stage."""

    job: FineTuneJob
    base_dir: Path
    settings: Settings
    reporter: Reporter
    paths: RunPaths
    planned: PlannedJob
    record: Recorder

    def to_the_end(self) -> RunOutcome:
        """Search if the spec says so; train, assess, report, pack, register."""
        self.record("training")
        with self._ray_if_needed():
            search = self._search()
            best = self if search is None else self._with_best(search)
            trained = best._train_both()  # noqa: SLF001 (the same run, with the best trial's job)
        return best._finish(*trained, search)  # noqa: SLF001 (the same)

    def _finish(
        self, result: TrainResult, baseline_result: TrainResult | None, search: SearchResult | None
    ) -> RunOutcome:
        self.record("evaluating")
        assessment = assess(result, self.planned.target, self.planned.index.splits["test"].slices)
        baseline = assess(baseline_result, self.planned.target).summaries if baseline_result else {}
        registry = Registry(self.settings, self.reporter)
        compared = self._compared(assessment, registry)
        gates = check_gates(
            self.job.spec.evaluation.gates,
            GateFacts(
                metrics=assessment.summaries["test"],
                intervals=assessment.intervals["test"],
                slices=assessment.slices,
                compared=compared,
                stored=self._champions(registry),
            ),
        )
        content = report_content(
            self.job,
            self.planned,
            result,
            assessment,
            run_id=self.paths.run_id,
            gates=gates,
            compared=compared,
            baseline=baseline,
            events=read_events(self.paths.events_file),
            data_cache_dir=self.settings.data_dir,
            search=search,
        )
        report = write_report(content, self.paths.report_dir)
        tables = write_predictions(
            self.paths.predictions_dir, self.planned.index.splits, assessment, what=input_kind(self.job.spec.task)
        )
        bundle = packed_bundle(self.job, self.paths) or self._pack(result, assessment, search)
        outcome = RunOutcome(
            job=self.job.metadata.name,
            run_id=self.paths.run_id,
            metrics=assessment.summaries["test"],
            extra_metrics=_without_test(assessment.summaries),
            intervals=assessment.intervals,
            baseline=baseline,
            report=str(report),
            bundle=str(bundle.path),
            model=None,
            version=None,
            alias=None,
            summary=(*summary_lines(content, str(report)), f"predictions: {tables['test']}"),
        )
        self._refuse_failed_gates(gates, outcome, registry, bundle)
        outcome = self._register(registry, bundle, result, outcome)
        self.record("succeeded", outcome.summary[0], **asdict(outcome))
        return outcome

    @contextmanager
    def _ray_if_needed(self) -> Iterator[None]:
        """Run Ray inside the block, unless an earlier attempt got past training."""
        if self._is_trained():
            yield
            return
        with self._ray():
            yield

    def _ray(self) -> AbstractContextManager[None]:
        """The cluster that the settings name, or a Ray of our own on this machine."""
        if self.settings.ray_address is not None:
            return connected_ray(self.settings.ray_address, storage=self.settings.storage)
        search = self.job.spec.search
        return start_local_ray(
            self.job.spec.scaling,
            trials_at_a_time=1 if search is None else search.max_concurrent or 1,
            log_dir=self.paths.root / "ray-logs",
            reporter=self.reporter,
        )

    def _is_trained(self) -> bool:
        """Whether an earlier attempt got past training, so that no worker is needed."""
        wanted = [self._request(self.job, self.paths.root)]
        if self.job.spec.evaluation.baseline != "none":
            wanted.append(self._request(self.job, self.paths.baseline_dir))
        return all(request.result_file.is_file() for request in wanted) and self._is_searched()

    def _is_searched(self) -> bool:
        return self.job.spec.search is None or is_over(self.paths.trials_dir)

    def _search(self) -> SearchResult | None:
        """Run the trials of the spec's search that are still to be run; None without a search."""
        if self.job.spec.search is None:
            return None
        planned = [
            PlannedTrial(
                trial=variant.trial,
                request=replace(
                    self._request(variant.job, self.paths.trials_dir / f"{variant.trial.number:04d}"),
                    input=variant.input,
                    run_name=f"{self.paths.run_id}-trial-{variant.trial.number:04d}",
                    writes_checkpoints=False,
                ),
            )
            for variant in self.planned.variants
        ]
        return run_search(self.job.spec, planned, self.paths.trials_dir, self.reporter)

    def _with_best(self, search: SearchResult) -> _Run:
        """This run with the best trial's job in place of the one that was searched."""
        best = search.best
        if best is None:
            first = search.trials[0].message if search.trials else "none was begun"
            raise PermanentError(
                f"{self.job.metadata.name}: none of {len(search.trials)} trials came to its end. The first: {first}"
            )
        variant = next(each for each in self.planned.variants if each.trial.number == best.number)
        self.reporter.say(f"{trial_line(best, search.metric)}: the best; now training it as the job")
        if not best.values:
            return replace(self, job=variant.job)
        planned = plan_variant(
            variant.job, self.planned, base_dir=self.base_dir, settings=self.settings, reporter=self.reporter
        )
        return replace(self, job=variant.job, planned=planned)

    def _train_both(self) -> tuple[TrainResult, TrainResult | None]:
        result = self._train(self.job, self.paths.root)
        if self.job.spec.evaluation.baseline == "none":
            return result, None
        return result, self._train_baseline()

    def _train_baseline(self) -> TrainResult | None:
        """The same job on random weights; None if that diverges, which must not cost the job its result."""
        self.reporter.say("the same job on random weights, for comparison")
        self.paths.baseline_dir.mkdir(exist_ok=True)
        try:
            return self._train(on_random_weights(self.job), self.paths.baseline_dir)
        except PermanentError as error:
            self.reporter.warn(f"the job on random weights failed and is left out of the report: {error}")
            return None

    def _train(self, job: FineTuneJob, run_dir: Path) -> TrainResult:
        return train(self._request(job, run_dir), self.reporter)

    def _request(self, job: FineTuneJob, run_dir: Path) -> TrainRequest:
        return TrainRequest(
            job=job,
            base_dir=self.base_dir,
            run_dir=run_dir,
            index_file=self.paths.index_file,
            input=self.planned.input,
            weights_dir=self.settings.weights_dir,
            data_cache_dir=self.settings.data_dir,
            features_dir=self.settings.features_dir,
            # Runs of several jobs may share a storage.
            run_name="-".join([self.paths.job, self.paths.run_id, *run_dir.relative_to(self.paths.root).parts]),
            storage=self.settings.storage,
        )

    def _compared(self, assessment: Assessment, registry: Registry) -> dict[str, Comparison | NotCompared]:
        """The models that this one would take the place of, or has to reach, run on this test set."""
        register = self.job.spec.register_
        if register is None:
            return {}
        test = self.planned.index.splits["test"]
        aliases = {gate.not_worse_than for gate in self.job.spec.evaluation.gates} | {register.alias}
        return compare_with_registered(
            Newcomer(
                task=self.job.spec.task,
                run_id=self.paths.run_id,
                target=assessment.target,
                predictions=assessment.predictions["test"],
                targets=assessment.targets["test"],
                inputs=test.inputs,
                digests=test.digests,
                locate=lambda uri: local_path(uri, self.settings.data_dir),
            ),
            register.model,
            [alias for alias in aliases if alias is not None],
            registry,
            self.reporter,
        )

    def _champions(self, registry: Registry) -> dict[str, Mapping[str, float]]:
        """Stored test metrics of the versions that gates compare with, by alias."""
        register = self.job.spec.register_
        aliases = {gate.not_worse_than for gate in self.job.spec.evaluation.gates if gate.not_worse_than}
        if register is None or not aliases:
            return {}
        found = {alias: registry.alias_metrics(register.model, alias) for alias in aliases}
        return {alias: metrics for alias, metrics in found.items() if metrics is not None}

    def _served_mirror(self) -> Mirror | None:
        """Mirror images that the bundle averages over."""
        averaging = self.job.spec.evaluation.test_time_augmentation
        return averaging.flip if averaging is not None and averaging.serve else None

    def _pack(self, result: TrainResult, assessment: Assessment, search: SearchResult | None) -> Bundle:
        """Write the bundle and prove that what will be served answers like what was trained."""
        network, target = self.planned.network, assessment.target
        network.model.load_weights(result.weights_file)
        plan, splits = self.planned.plan, self.planned.index.splits
        test = splits["test"]
        return write_bundle(
            BundleRequest(
                model=inference_model(network, target.finish, self._served_mirror()),
                inputs=self.planned.input,
                target=target,
                task=self.job.spec.task,
                backbone=BackboneRecord(
                    source=plan.backbone["source"], weights=plan.backbone["weights"], digest=plan.backbone["digest"]
                ),
                candidates=[
                    GoldenCandidate(input=each, label=target.words(value), group=group)
                    for each, value, group in zip(test.inputs, test.targets, target.spread(test.targets), strict=True)
                ],
                metrics=assessment.summaries["test"],
                extra_metrics=_without_test(assessment.summaries),
                intervals=assessment.intervals["test"],
                lineage=Lineage(
                    job=plan.job,
                    run_id=self.paths.run_id,
                    spec=self.job.model_dump(mode="json", by_alias=True, exclude_none=True),
                    data_digest=plan.data_digest,
                    libraries=library_versions(self.job.spec.training.backend),
                    search=None if search is None else search_lineage(search),
                ),
                report_dir=self.paths.report_dir,
                trained_on=splits["train"].digests + splits["validation"].digests,
                destination=self.paths.bundle_dir,
                locate=lambda uri: local_path(uri, self.settings.data_dir),
            ),
            self.reporter,
        )

    def _refuse_failed_gates(
        self, gates: Sequence[GateResult], outcome: RunOutcome, registry: Registry, bundle: Bundle
    ) -> None:
        failed = [gate.sentence for gate in gates if not gate.passed]
        if failed:
            register = self.job.spec.register_
            standing = None if register is None else registry.version_of(bundle, register.model)
            raise GateError(
                "\n".join(
                    [
                        f"{outcome.job}: trained, but not registered, because a gate was not met.",
                        *failed,
                        *([] if standing is None else [what_stays(standing)]),
                        f"The report says what to try: {outcome.report}",
                        f"The bundle is kept: {outcome.bundle}",
                    ]
                )
            )

    def _register(self, registry: Registry, bundle: Bundle, result: TrainResult, outcome: RunOutcome) -> RunOutcome:
        """Record the run; put the bundle into the registry if the spec says so."""
        self.record("registering")
        tracked = registry.track_run(
            job_name=outcome.job,
            run_id=outcome.run_id,
            spec=self.job.model_dump(mode="json", by_alias=True, exclude_none=True),
            history=result.history,
            metrics=outcome.metrics,
            report_dir=self.paths.report_dir,
        )
        register = self.job.spec.register_
        if register is None:
            return outcome
        registration = registry.register(bundle, register.model, register.alias, tracking_run=tracked)
        alias = f", alias {register.alias}" if register.alias else ""
        return replace(
            outcome,
            model=register.model,
            version=registration.version,
            alias=register.alias,
            summary=(*outcome.summary, f"registered {register.model} version {registration.version}{alias}"),
        )


def on_random_weights(job: FineTuneJob) -> FineTuneJob:
    """The same job, nothing changed but the backbone's weights; that several workers equal one, it has shown itself."""
    changed = {
        "backbone": job.spec.backbone.model_copy(update={"weights": "none"}),
        "scaling": job.spec.scaling.model_copy(update={"preflight": "none"}),
    }
    return job.model_copy(update={"spec": job.spec.model_copy(update=changed)})


def _without_test(summaries: Mapping[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {name: metrics for name, metrics in summaries.items() if name != "test"}
