"""What a job will do, found out before anything is spent: backbone, data, parameters, memory, time, registration.

`make_plan` refuses what cannot work. It runs in the driver, before any worker starts.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from graftwork.errors import GraftworkError, Problem, SpecError
from graftwork.preprocess.image import ImageSpec
from graftwork.preprocess.inputs import InputSpec
from graftwork.preprocess.text import TextSpec
from graftwork.spec.fine_tune_job import FineTuneJob, FineTuneJobSpec, Phase
from graftwork.spec.tasks import NAMES_ARE, input_kind, target_kind
from graftwork_jobs.data.index import DatasetIndex
from graftwork_jobs.data.pipeline import BatchPlan
from graftwork_jobs.data.scan import DataScan, scan_data
from graftwork_jobs.evaluation.gates import hopeless_gate_problems
from graftwork_jobs.evaluation.metrics import TOP_K
from graftwork_jobs.input_plan import (
    TextFacts,
    measure_texts,
    trial_batch,
    truncation_warnings,
)
from graftwork_jobs.phase_plan import PhasePlan, depth_warnings, memory_bytes, plan_phase
from graftwork_jobs.plan_threshold import threshold_problems
from graftwork_jobs.plan_words import registration_words
from graftwork_jobs.search.plan_search import KnownNetwork, SearchPlan, Variant, plan_search, plan_variants
from graftwork_jobs.targets.choose import make_target

if TYPE_CHECKING:
    from graftwork.progress import Reporter
    from graftwork.settings import Settings
    from graftwork_jobs.model.for_input import AnyBackbone
    from graftwork_jobs.model.network import Network
    from graftwork_jobs.model.stages import Stage
    from graftwork_jobs.targets.base import Target

# What a run takes besides passes through the network; measured on two cores. Once: the start of Ray, and after training
# report, bundle and its check. Each training: the start of its workers' Python with TensorFlow. Each phase: tracing.
_RAY_AND_BUNDLE_S = 30.0
_WORKERS_START_S = 15.0
_PHASE_START_S = 5.0
_TRIAL_ROWS = 8
_ANY_OUTPUTS = 2
_TRIAL_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `graft plan` prints; plain values only.

    Attributes:
        job: its name.
        task: what the model is to do.
        backbone: source, weights, preprocessing, digest.
        image_size: height and width of pictures in pixels; None for texts.
        texts: what the tokenizer made of texts; None for pictures.
        labels: names of classes or numbers.
        sizes: examples by split.
        counts: examples by split and class; no classes where something else is predicted.
        data_digest: SHA-256 over content, labels and splits.
        unreadable: examples left out, with the reason.
        warnings: imbalance, leakage and the like, in words.
        phases: what each will do.
        workers: processes.
        batch_size: examples per weight update over all workers.
        memory_bytes_per_worker: estimate.
        estimated_s: estimate for the whole run on this machine, in seconds.
        registers: what will be registered, in words.
        search: what a search will do; None without one.
    """

    job: str
    task: str
    backbone: dict[str, str]
    image_size: tuple[int, int] | None
    texts: TextFacts | None
    labels: tuple[str, ...]
    sizes: dict[str, int]
    counts: dict[str, dict[str, int]]
    data_digest: str
    unreadable: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    phases: tuple[PhasePlan, ...]
    workers: int
    batch_size: int
    memory_bytes_per_worker: int
    estimated_s: float
    registers: str
    search: SearchPlan | None = None

    @property
    def names_are(self) -> str:
        """What `labels` are the names of."""
        return NAMES_ARE[target_kind(self.task)]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class PlannedJob:
    """A plan together with what was loaded to make it.

    Attributes:
        plan: what will be done.
        index: every example.
        input: what examples are brought to.
        backbone: the loaded backbone.
        network: the network with its initial weights.
        target: what it predicts.
        scan: what the data is.
        variants: the trials of a search, in order; none without one.
    """

    plan: Plan
    index: DatasetIndex
    input: InputSpec
    backbone: AnyBackbone
    network: Network
    target: Target
    scan: DataScan
    variants: tuple[Variant, ...] = ()


def make_plan(job: FineTuneJob, *, base_dir: Path, settings: Settings, reporter: Reporter) -> PlannedJob:
    """Resolve the backbone, scan the data and work out what each phase will do.

    Args:
        job: the job spec.
        base_dir: where the spec's relative paths start.
        settings: where caches and the registry are.
        reporter: told about downloads and the scan.

    Raises:
        SpecError: the job cannot work as it is; all problems that can be found together are told together.
    """
    spec = job.spec
    if missing := _missing_backend(spec.training.backend):
        raise SpecError([missing])
    try:
        scan = scan_data(
            spec.data,
            what=input_kind(spec.task),
            target=target_kind(spec.task),
            base_dir=base_dir,
            cache_dir=settings.data_dir,
            seed=spec.training.seed,
            reporter=reporter,
            slices=spec.evaluation.slices,
        )
    except SpecError as error:
        build = partial(_build, base_dir=base_dir, settings=settings, reporter=reporter)
        raise SpecError([*error.problems, *_model_problems(spec, build)]) from error
    test = scan.index.splits["test"]
    if problems := hopeless_gate_problems(spec.evaluation.gates, len(test), test.slices):
        raise SpecError(problems)
    return _plan_scanned(job, scan, base_dir=base_dir, settings=settings, reporter=reporter)


def _missing_backend(backend: str) -> Problem | None:
    """What to tell the user whose workers could not start; None if they can."""
    if importlib.util.find_spec(backend) is not None:
        return None
    return Problem(
        where="spec.training.backend",
        received=f"{backend}, which is not installed",
        expected="a backend that is installed",
        fix=f"Run: pip install 'graftwork[{backend}]' (on an NVIDIA GPU also 'graftwork[gpu]'), or use tensorflow.",
    )


def plan_variant(
    job: FineTuneJob, planned: PlannedJob, *, base_dir: Path, settings: Settings, reporter: Reporter
) -> PlannedJob:
    """Plan a job on data that a plan has scanned already.

    Args:
        job: as that of `planned`, apart from sections that do not concern the data.
        planned: the plan.
        base_dir: where the spec's relative paths start.
        settings: where caches and the registry are.
        reporter: told about downloads.
    """
    return _plan_scanned(job, planned.scan, base_dir=base_dir, settings=settings, reporter=reporter)


def _plan_scanned(
    job: FineTuneJob, scan: DataScan, *, base_dir: Path, settings: Settings, reporter: Reporter
) -> PlannedJob:
    from graftwork_jobs.model.cut import end_of
    from graftwork_jobs.model.for_input import backbone_trains_as_in_training

    spec = job.spec
    if wrong := [*_top5_of_few(spec, len(scan.index.labels)), *threshold_problems(spec, scan.index.labels)]:
        raise SpecError(wrong)
    build = partial(_build, base_dir=base_dir, settings=settings, reporter=reporter)
    target = make_target(spec, scan.index)
    backbone, inputs, network = build(spec, outputs=target.outputs)
    stages_by_phase = _resolve_phases(network, spec.phases)
    texts = measure_texts(scan.index, inputs) if isinstance(inputs, TextSpec) else None
    batches = BatchPlan(
        batch_size=spec.training.batch_size,
        pieces=spec.training.gradient_accumulation,
        rank=0,
        world=spec.scaling.workers,
    )
    # Where rows of a batch depend on each other, the preflight goes through all of them on one worker.
    compares = spec.scaling.preflight == "auto" and backbone_trains_as_in_training(spec)
    rows_per_worker = batches.micro_rows if compares else batches.rows_per_rank
    with reporter.task("time the network", None):
        seconds_each = _forward_seconds(network, trial_batch(inputs, texts, _TRIAL_ROWS))
    # The trial ran on all cores of this machine; the workers may use fewer.
    slower = max(1.0, _cores() / (spec.scaling.workers * spec.scaling.cpus_per_worker))
    phases = tuple(
        plan_phase(phase, stages, network, scan.index, spec, inputs, seconds_each * slower, settings.features_dir)
        for phase, stages in zip(spec.phases, stages_by_phase, strict=True)
    )
    sizes = {name: len(split) for name, split in scan.index.splits.items()}
    plan = Plan(
        job=job.metadata.name,
        task=spec.task,
        backbone={
            "source": backbone.source,
            "weights": backbone.weights,
            "preprocessing": backbone.preprocessing,
            "digest": backbone.digest,
            "head_grows_on": end_of(backbone.model),
        },
        image_size=(inputs.height, inputs.width) if isinstance(inputs, ImageSpec) else None,
        texts=texts,
        labels=scan.index.labels,
        sizes=sizes,
        counts=scan.counts,
        data_digest=scan.index.digest,
        unreadable=tuple(scan.unreadable),
        warnings=(
            *scan.warnings,
            *truncation_warnings(texts, sizes),
            *depth_warnings(network, spec.phases, stages_by_phase),
        ),
        phases=phases,
        workers=spec.scaling.workers,
        batch_size=spec.training.batch_size,
        memory_bytes_per_worker=max(
            memory_bytes(network, stages[-1].boundary, rows_per_worker, spec, inputs) for stages in stages_by_phase
        ),
        estimated_s=_whole_run_s(spec, phases, sizes, seconds_each * slower),
        registers=registration_words(spec, settings),
    )
    variants = plan_variants(
        job,
        KnownNetwork(input=inputs, network=network),
        build=partial(_known_network, build=build),
        resolve=_resolve_phases,
    )
    search = plan_search(spec, variants, phases, cores=_cores())
    if search is not None:
        plan = replace(plan, search=search, estimated_s=plan.estimated_s + search.estimated_s)
    return PlannedJob(
        plan=plan,
        index=scan.index,
        input=inputs,
        backbone=backbone,
        network=network,
        target=target,
        scan=scan,
        variants=variants,
    )


def _top5_of_few(spec: FineTuneJobSpec, classes: int) -> list[Problem]:
    """Gates on a figure that five classes or fewer do not have: it would be 1 whatever the model says."""
    return [
        Problem(
            where=f"spec.evaluation.gates[{position}].metric",
            received=f"top5_accuracy with {classes} classes",
            expected=f"a metric that says something; this one needs more than {TOP_K} classes",
            fix="Use accuracy.",
        )
        for position, gate in enumerate(spec.evaluation.gates)
        if gate.metric == "top5_accuracy" and classes <= TOP_K
    ]


def _known_network(
    spec: FineTuneJobSpec, *, build: Callable[..., tuple[AnyBackbone, InputSpec, Network]]
) -> KnownNetwork:
    _, inputs, network = build(spec, outputs=_ANY_OUTPUTS)
    return KnownNetwork(input=inputs, network=network)


def _model_problems(
    spec: FineTuneJobSpec, build: Callable[..., tuple[AnyBackbone, InputSpec, Network]]
) -> list[Problem]:
    """What is wrong besides the data; the number of outputs changes nothing about that."""
    try:
        _, _, network = build(spec, outputs=_ANY_OUTPUTS)
        _resolve_phases(network, spec.phases)
    except SpecError as error:
        return list(error.problems)
    except GraftworkError:
        # Something outside failed, such as a download. It comes up again once the data is right.
        return []
    return []


def _build(
    spec: FineTuneJobSpec, *, outputs: int, base_dir: Path, settings: Settings, reporter: Reporter
) -> tuple[AnyBackbone, InputSpec, Network]:
    from graftwork_jobs.model.for_input import backbone_trains_as_in_training, load_job_backbone
    from graftwork_jobs.model.network import build_network

    backbone, inputs = load_job_backbone(spec, base_dir=base_dir, weights_dir=settings.weights_dir, reporter=reporter)
    network = build_network(
        backbone,
        spec.head,
        outputs=outputs,
        seed=spec.training.seed,
        batch_norm_training=backbone_trains_as_in_training(spec),
        dropout_slice=None,
    )
    return backbone, inputs, network


def _resolve_phases(network: Network, phases: Sequence[Phase]) -> list[tuple[Stage, ...]]:
    from graftwork_jobs.model.stages import stages_of

    resolved: list[tuple[Stage, ...]] = []
    problems: list[Problem] = []
    for position, phase in enumerate(phases):
        try:
            resolved.append(stages_of(network, phase, where=f"spec.phases[{position}].unfreeze"))
        except SpecError as error:
            problems.extend(error.problems)
    if problems:
        raise SpecError(problems)
    return resolved


def _whole_run_s(
    spec: FineTuneJobSpec, phases: Sequence[PhasePlan], sizes: Mapping[str, int], seconds_each: float
) -> float:
    """An estimate for everything but a search."""
    tested = sum(size for name, size in sizes.items() if name not in {"train", "validation"})
    one_training_s = _WORKERS_START_S + seconds_each * tested
    one_training_s += sum(phase.estimated_s + _PHASE_START_S for phase in phases)
    return _RAY_AND_BUNDLE_S + one_training_s * (2 if spec.evaluation.baseline == "random-weights" else 1)


def _forward_seconds(network: Network, examples: NDArray[Any]) -> float:
    """Seconds for one example in a compiled forward pass on all cores of this machine, measured on the spot."""
    network.model.predict_on_batch(examples)
    times = []
    for _ in range(_TRIAL_ROUNDS):
        start = time.perf_counter()
        network.model.predict_on_batch(examples)
        times.append(time.perf_counter() - start)
    return sorted(times)[_TRIAL_ROUNDS // 2] / len(examples)


def _cores() -> int:
    import psutil

    return psutil.cpu_count() or 1
