"""What a job will do, found out before anything is spent: backbone, data, parameters, memory, time, registration.

`make_plan` refuses what cannot work. It runs in the driver, before any worker starts.
"""

from __future__ import annotations

import math
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
from graftwork_jobs.evaluation.metrics import TOP_K
from graftwork_jobs.features.views import stored_views
from graftwork_jobs.input_plan import (
    TextFacts,
    layer_elements,
    measure_texts,
    trial_batch,
    truncation_warnings,
)
from graftwork_jobs.plan_words import registration_words, unfreeze_words
from graftwork_jobs.search.plan_search import KnownNetwork, SearchPlan, Variant, plan_search, plan_variants
from graftwork_jobs.targets.choose import make_target

if TYPE_CHECKING:
    from graftwork.progress import Reporter
    from graftwork.settings import Settings
    from graftwork_jobs.model.for_input import AnyBackbone
    from graftwork_jobs.model.freeze import FreezeBoundary
    from graftwork_jobs.model.network import Network
    from graftwork_jobs.targets.base import Target

_FLOAT_BYTES = 4
_OPTIMIZER_SLOTS = {"adam": 2, "adamw": 2, "sgd": 1}
# A backward pass costs about twice the forward pass of the same layers: one product for the inputs' gradient and one
# for the weights'. Source: Griewank & Walther, Evaluating Derivatives (2008), chapter 4.
_BACKWARD_COST = 2.0
# Start of Ray and of the workers' Python with TensorFlow, once a run; measured 20-40 s on two cores.
_START_UP_S = 30.0
# Resident memory of a worker process with TensorFlow and Ray loaded, before any model.
_PROCESS_BYTES = 900 * 1024**2
_TRIAL_ROWS = 8
_ANY_OUTPUTS = 2
_TRIAL_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class FeaturePlan:
    """What a phase will compute once instead of in every epoch.

    Attributes:
        cut: layer whose outputs are kept.
        views: random versions of each training picture; 0 for pictures as they are.
        size_bytes: of what is kept.
        saved_s: seconds saved over all epochs, by estimate; below 0 where it costs more than it saves.
    """

    cut: str
    views: int
    size_bytes: int
    saved_s: float


@dataclass(frozen=True, kw_only=True)
class PhasePlan:
    """What a phase will do.

    Attributes:
        name: the phase's name.
        epochs: at most this many.
        learning_rate: at its start.
        unfreeze: as the spec says it.
        freeze_boundary: first backbone layer that trains; None when only the head does.
        trainable_parameters: numbers that change.
        total_parameters: numbers in the whole network.
        steps_per_epoch: weight updates.
        estimated_s: seconds for all epochs, validation included.
        features: what is computed once and kept; None when all is computed in every epoch.
        no_features: why not, in words; empty when something is kept.
    """

    name: str
    epochs: int
    learning_rate: float
    unfreeze: str
    freeze_boundary: str | None
    trainable_parameters: int
    total_parameters: int
    steps_per_epoch: int
    estimated_s: float
    features: FeaturePlan | None = None
    no_features: str = ""


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
    try:
        scan = scan_data(
            spec.data,
            what=input_kind(spec.task),
            target=target_kind(spec.task),
            base_dir=base_dir,
            cache_dir=settings.data_dir,
            seed=spec.training.seed,
            reporter=reporter,
        )
    except SpecError as error:
        build = partial(_build, base_dir=base_dir, settings=settings, reporter=reporter)
        raise SpecError([*error.problems, *_model_problems(spec, build)]) from error
    return _plan_scanned(job, scan, base_dir=base_dir, settings=settings, reporter=reporter)


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
    from graftwork_jobs.model.for_input import backbone_trains_as_in_training

    spec = job.spec
    if few := _top5_of_few(spec, len(scan.index.labels)):
        raise SpecError(few)
    build = partial(_build, base_dir=base_dir, settings=settings, reporter=reporter)
    target = make_target(spec, scan.index)
    backbone, inputs, network = build(spec, outputs=target.outputs)
    boundaries = _resolve_phases(network, spec.phases)
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
    with reporter.task("estimate time", None):
        seconds_each = _forward_seconds(network, trial_batch(inputs, texts, _TRIAL_ROWS))
    phases = tuple(
        _plan_phase(phase, boundary, network, scan.index, spec, inputs, seconds_each, settings.features_dir)
        for phase, boundary in zip(spec.phases, boundaries, strict=True)
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
        },
        image_size=(inputs.height, inputs.width) if isinstance(inputs, ImageSpec) else None,
        texts=texts,
        labels=scan.index.labels,
        sizes={name: len(split) for name, split in scan.index.splits.items()},
        counts=scan.counts,
        data_digest=scan.index.digest,
        unreadable=tuple(scan.unreadable),
        warnings=(
            *scan.warnings,
            *truncation_warnings(texts, sizes),
        ),
        phases=phases,
        workers=spec.scaling.workers,
        batch_size=spec.training.batch_size,
        memory_bytes_per_worker=max(
            _memory(network, boundary, rows_per_worker, spec, inputs) for boundary in boundaries
        ),
        estimated_s=_START_UP_S
        + sum(phase.estimated_s for phase in phases) * (2 if spec.evaluation.baseline == "random-weights" else 1),
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


def _resolve_phases(network: Network, phases: Sequence[Phase]) -> list[FreezeBoundary]:
    from graftwork_jobs.model.freeze import resolve_unfreeze

    boundaries: list[FreezeBoundary] = []
    problems: list[Problem] = []
    for position, phase in enumerate(phases):
        try:
            boundaries.append(resolve_unfreeze(network, phase.unfreeze, where=f"spec.phases[{position}].unfreeze"))
        except SpecError as error:
            problems.extend(error.problems)
    if problems:
        raise SpecError(problems)
    return boundaries


def _plan_phase(
    phase: Phase,
    boundary: FreezeBoundary,
    network: Network,
    index: DatasetIndex,
    spec: FineTuneJobSpec,
    inputs: InputSpec,
    seconds_each: float,
    features_dir: Path,
) -> PhasePlan:
    train, validation = len(index.splits["train"]), len(index.splits["validation"])
    share = _trainable_share(network, boundary, inputs)
    one_epoch_s = seconds_each * (train * (1 + _BACKWARD_COST * share) + validation)
    # The trial ran on all cores of this machine; the workers may use fewer.
    slower = max(1.0, _cores() / (spec.scaling.workers * spec.scaling.cpus_per_worker))
    features, why_not = _plan_features(
        phase, boundary, network, spec, inputs, (train, validation), seconds_each * slower, features_dir
    )
    return PhasePlan(
        name=phase.name,
        epochs=phase.epochs,
        learning_rate=phase.learning_rate,
        unfreeze=unfreeze_words(phase),
        freeze_boundary=boundary.first_trainable_layer,
        trainable_parameters=boundary.trainable_parameters,
        total_parameters=boundary.total_parameters,
        steps_per_epoch=math.ceil(train / spec.training.batch_size),
        estimated_s=one_epoch_s * phase.epochs * slower - (features.saved_s if features else 0.0),
        features=features,
        no_features=why_not,
    )


def _plan_features(
    phase: Phase,
    boundary: FreezeBoundary,
    network: Network,
    spec: FineTuneJobSpec,
    inputs: InputSpec,
    sizes: tuple[int, int],
    seconds_each: float,
    features_dir: Path,
) -> tuple[FeaturePlan | None, str]:
    """What a phase keeps in the feature store, or why it keeps nothing; the same decision that the workers take.

    Args:
        phase: the phase.
        boundary: what trains in it.
        network: the whole network.
        spec: the job.
        inputs: what examples are brought to.
        sizes: training and validation examples.
        seconds_each: of a pass through the whole network, on the workers.
        features_dir: where the store is.
    """
    from graftwork_jobs.features.phase_cut import cut_for_phase
    from graftwork_jobs.features.store import FeatureStore

    views = stored_views(spec, phase)
    if not views:
        return None, "features.cache is none" if spec.features.cache == "none" else "pictures change in every epoch"
    cut = cut_for_phase(network, boundary)
    if cut is None:
        return None, "no layer below the freeze boundary passes on a single tensor"
    train, validation = sizes
    size_bytes, limit_bytes = cut.bytes_of(views * train + validation), FeatureStore.limit_below(features_dir)
    if size_bytes > limit_bytes:
        return None, f"{size_bytes / 1e9:,.1f} GB of features, {limit_bytes / 1e9:,.1f} GB of room for them"
    activations = _activation_sizes(network, inputs)
    share = sum(activations.get(layer.name, 0) for layer in cut.trunk.layers) / max(1, sum(activations.values()))
    passes_saved = (phase.epochs - views) * train + (phase.epochs - 1) * validation
    return FeaturePlan(
        cut=cut.name,
        views=views if spec.augment else 0,
        size_bytes=size_bytes,
        saved_s=seconds_each * min(share, 1.0) * passes_saved,
    ), ""


def _trainable_share(network: Network, boundary: FreezeBoundary, inputs: InputSpec) -> float:
    """Share of the forward pass that lies at or above the freeze boundary, judged by activation sizes."""
    sizes = _activation_sizes(network, inputs)
    total = sum(sizes.values())
    trainable = sum(sizes.get(name, 0) for name in boundary.trainable_layers)
    return trainable / total if total else 0.0


def _activation_sizes(network: Network, inputs: InputSpec) -> Mapping[str, int]:
    """Numbers each backbone layer computes for one example."""
    return {layer.name: layer_elements(layer, inputs) for layer in network.backbone.layers}


def _memory(network: Network, boundary: FreezeBoundary, rows: int, spec: FineTuneJobSpec, inputs: InputSpec) -> int:
    sizes = _activation_sizes(network, inputs)
    kept = sum(sizes.get(name, 0) for name in boundary.trainable_layers)
    passing = 2 * max(sizes.values(), default=0)
    # Gradients of kept activations live beside them while the backward pass goes down.
    activations = rows * (2 * kept + passing) * _FLOAT_BYTES
    slots = 1 + _OPTIMIZER_SLOTS[spec.training.optimizer]
    weights = (2 * boundary.total_parameters + slots * boundary.trainable_parameters) * _FLOAT_BYTES
    return _PROCESS_BYTES + activations + weights


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
