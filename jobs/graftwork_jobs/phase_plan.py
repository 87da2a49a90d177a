"""What one phase of a job will do: what trains, what is computed once, how long it takes, how much memory it needs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.preprocess.inputs import InputSpec
from graftwork.spec.fine_tune_job import FineTuneJobSpec, Phase
from graftwork_jobs.data.index import DatasetIndex
from graftwork_jobs.features.views import stored_views
from graftwork_jobs.input_plan import layer_elements
from graftwork_jobs.plan_words import unfreeze_words

if TYPE_CHECKING:
    from graftwork_jobs.model.freeze import FreezeBoundary
    from graftwork_jobs.model.network import Network
    from graftwork_jobs.model.stages import Stage

_FLOAT_BYTES = 4
_OPTIMIZER_SLOTS = {"adam": 2, "adamw": 2, "sgd": 1}
# A backward pass costs about twice the forward pass of the same layers: one product for the inputs' gradient and one
# for the weights'. Source: Griewank & Walther, Evaluating Derivatives (2008), chapter 4.
_BACKWARD_COST = 2.0
# Resident memory of a worker process with TensorFlow and Ray loaded, before any model.
_PROCESS_BYTES = 900 * 1024**2


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
class StagePlan:
    """A stretch of a phase in which the same layers train.

    Attributes:
        first_epoch: its first epoch in the phase, from 1.
        epochs: how many it has.
        freeze_boundary: first backbone layer that trains; None when only the head does.
        trainable_parameters: numbers that change.
    """

    first_epoch: int
    epochs: int
    freeze_boundary: str | None
    trainable_parameters: int


@dataclass(frozen=True, kw_only=True)
class PhasePlan:
    """What a phase will do.

    Attributes:
        name: the phase's name.
        epochs: at most this many.
        learning_rate: at its start.
        unfreeze: as the spec says it.
        freeze_boundary: first backbone layer that trains at the end; None when only the head does.
        trainable_parameters: numbers that change at the end.
        total_parameters: numbers in the whole network.
        steps_per_epoch: weight updates.
        estimated_s: seconds for all epochs, validation included.
        features: what is computed once and kept; None when all is computed in every epoch.
        no_features: why not, in words; empty when something is kept.
        stages: how it unfreezes more and more; empty where the same layers train throughout.
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
    stages: tuple[StagePlan, ...] = ()


def plan_phase(
    phase: Phase,
    stages: Sequence[Stage],
    network: Network,
    index: DatasetIndex,
    spec: FineTuneJobSpec,
    inputs: InputSpec,
    seconds_each: float,
    features_dir: Path,
) -> PhasePlan:
    """Say what a phase will do.

    Args:
        phase: the phase.
        stages: of it.
        network: the whole network.
        index: the data.
        spec: the job.
        inputs: what examples are brought to.
        seconds_each: of a pass of one example through the whole network, on the workers.
        features_dir: where the store of features is.
    """
    train, validation = len(index.splits["train"]), len(index.splits["validation"])
    estimated_s, kept = 0.0, []
    for stage in stages:
        share = _trainable_share(network, stage.boundary, inputs)
        one_epoch_s = seconds_each * (train * (1 + _BACKWARD_COST * share) + validation)
        kept.append(
            _plan_features(phase, stage, network, spec, inputs, (train, validation), seconds_each, features_dir)
        )
        features, _ = kept[-1]
        estimated_s += one_epoch_s * stage.epochs - (features.saved_s if features else 0.0)
    features = _all_features([each for each, _ in kept if each is not None])
    end = stages[-1].boundary
    return PhasePlan(
        name=phase.name,
        epochs=phase.epochs,
        learning_rate=phase.learning_rate,
        unfreeze=unfreeze_words(phase),
        freeze_boundary=end.first_trainable_layer,
        trainable_parameters=end.trainable_parameters,
        total_parameters=end.total_parameters,
        steps_per_epoch=math.ceil(train / spec.training.batch_size),
        estimated_s=estimated_s,
        features=features,
        no_features="" if features else kept[-1][1],
        stages=_stage_plans(stages) if phase.gradually is not None else (),
    )


def _stage_plans(stages: Sequence[Stage]) -> tuple[StagePlan, ...]:
    return tuple(
        StagePlan(
            first_epoch=stage.first_epoch + 1,
            epochs=stage.epochs,
            freeze_boundary=stage.boundary.first_trainable_layer,
            trainable_parameters=stage.boundary.trainable_parameters,
        )
        for stage in stages
    )


def _all_features(plans: Sequence[FeaturePlan]) -> FeaturePlan | None:
    """What all stages of a phase keep together."""
    if not plans:
        return None
    return FeaturePlan(
        cut=", ".join(dict.fromkeys(plan.cut for plan in plans)),
        views=plans[0].views,
        size_bytes=sum(plan.size_bytes for plan in plans),
        saved_s=sum(plan.saved_s for plan in plans),
    )


def _plan_features(
    phase: Phase,
    stage: Stage,
    network: Network,
    spec: FineTuneJobSpec,
    inputs: InputSpec,
    sizes: tuple[int, int],
    seconds_each: float,
    features_dir: Path,
) -> tuple[FeaturePlan | None, str]:
    """What a stage keeps in the feature store, or why it keeps nothing; the same decision that the workers take.

    Args:
        phase: the phase.
        stage: of it.
        network: the whole network.
        spec: the job.
        inputs: what examples are brought to.
        sizes: training and validation examples.
        seconds_each: of a pass through the whole network, on the workers.
        features_dir: where the store is.
    """
    from graftwork_jobs.features.phase_cut import cut_for_phase
    from graftwork_jobs.features.store import FeatureStore

    views = stored_views(spec, phase, stage.epochs)
    if not views:
        return None, "features.cache is none" if spec.features.cache == "none" else "pictures change in every epoch"
    cut = cut_for_phase(network, stage.boundary)
    if cut is None:
        return None, "no layer below the freeze boundary passes on a single tensor"
    train, validation = sizes
    size_bytes, limit_bytes = cut.bytes_of(views * train + validation), FeatureStore.limit_below(features_dir)
    if size_bytes > limit_bytes:
        return None, f"{size_bytes / 1e9:,.1f} GB of features, {limit_bytes / 1e9:,.1f} GB of room for them"
    activations = _activation_sizes(network, inputs)
    share = sum(activations.get(layer.name, 0) for layer in cut.trunk.layers) / max(1, sum(activations.values()))
    passes_saved = (stage.epochs - views) * train + (stage.epochs - 1) * validation
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


def depth_warnings(
    network: Network, phases: Sequence[Phase], stages_by_phase: Sequence[Sequence[Stage]]
) -> Iterator[str]:
    """Phases that end before they have unfrozen all that they shall."""
    from graftwork_jobs.model.stages import epochs_to_the_end

    for phase, stages in zip(phases, stages_by_phase, strict=True):
        needed = epochs_to_the_end(network, phase)
        if phase.gradually is not None and phase.gradually.down_to is not None and phase.epochs < needed:
            yield (
                f"phase {phase.name} unfreezes down to {stages[-1].boundary.first_trainable_layer} in {phase.epochs} "
                f"epochs; down to {phase.gradually.down_to} it would take {needed}."
            )


def memory_bytes(
    network: Network, boundary: FreezeBoundary, rows: int, spec: FineTuneJobSpec, inputs: InputSpec
) -> int:
    """Estimate of what a worker needs while a network trains from a boundary on, with that many rows in a step."""
    sizes = _activation_sizes(network, inputs)
    kept = sum(sizes.get(name, 0) for name in boundary.trainable_layers)
    passing = 2 * max(sizes.values(), default=0)
    # Gradients of kept activations live beside them while the backward pass goes down.
    activations = rows * (2 * kept + passing) * _FLOAT_BYTES
    slots = 1 + _OPTIMIZER_SLOTS[spec.training.optimizer]
    weights = (2 * boundary.total_parameters + slots * boundary.trainable_parameters) * _FLOAT_BYTES
    return _PROCESS_BYTES + activations + weights
