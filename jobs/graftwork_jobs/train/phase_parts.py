"""Which part of the network a phase runs, on what: its inputs, or features of the trunk below its freeze boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from graftwork.spec.fine_tune_job import Phase
from graftwork_jobs.features.views import stored_views
from graftwork_jobs.train.feeds import FeatureFeed, Feed, InputFeed, Rows
from graftwork_jobs.train.replicated import is_small
from graftwork_jobs.train.run_context import RunContext

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf
    from numpy.typing import NDArray

    from graftwork_jobs.features.extract import Extractor
    from graftwork_jobs.features.phase_cut import PhaseCut
    from graftwork_jobs.model.stages import Stage
    from graftwork_jobs.train.evaluate import Evaluator
    from graftwork_jobs.train.objective import TrainingModel


@dataclass(frozen=True, kw_only=True)
class PhaseParts:
    """What one stage of a phase trains, on what; made afresh for each.

    Attributes:
        spec: of the phase.
        model: what is trained; shares its variables with the network.
        evaluator: of the same part of the network.
        feed: what goes into both.
        is_replicated: whether every worker trains on whole batches, as it is so small.
    """

    spec: Phase
    model: TrainingModel
    evaluator: Evaluator
    feed: Feed
    is_replicated: bool = False

    def training(self, epoch: int, *, start_step: int = 0) -> tf.data.Dataset:
        """One epoch of what this worker trains on, from a step on: elements (inputs, targets, weights)."""
        feed = self.feed.by_one() if self.is_replicated else self.feed
        return feed.training(epoch, start_step=start_step)


def calibrate(run: RunContext) -> None:
    """Fit the statistics of a random backbone to the first batches of the first epoch."""
    from graftwork_jobs.train.calibrate import calibrate_batch_norm
    from graftwork_jobs.train.objective import with_validity

    feed = _input_feed(run, 0)
    if run.collectives.in_step.world == 1:
        # Outside a step nobody brings the workers' rows together: each goes through whole batches.
        feed = feed.by_one()
    calibrate_batch_norm(run.network.backbone, feed.training(0).map(with_validity))


def make_phase(run: RunContext, number: int, stage: Stage) -> PhaseParts:
    """Choose between inputs and features of the frozen trunk, and bind the part of the network that takes them."""
    from graftwork_jobs.features.phase_cut import cut_for_phase
    from graftwork_jobs.train.evaluate import Evaluator
    from graftwork_jobs.train.objective import TrainingModel

    network, spec = run.network, run.request.job.spec
    phase = spec.phases[number]
    train, held_out = run.index.splits["train"], run.index.splits["validation"]
    trains = network.batch_norm_training
    extractor = _extractor(run)
    views = stored_views(spec, phase, stage.epochs)
    cut = cut_for_phase(network, stage.boundary) if views else None
    if cut is None or not extractor.fits(cut, views * len(train) + len(held_out)):
        return PhaseParts(
            spec=phase,
            model=TrainingModel(network.model, backbone=network.backbone, head=network.head, backbone_trains=trains),
            evaluator=run.evaluator,
            feed=_input_feed(run, number),
        )
    return PhaseParts(
        spec=phase,
        model=TrainingModel(network.model, backbone=cut.rest, head=cut.head, backbone_trains=trains),
        evaluator=Evaluator(cut.top(), run.target, run.collectives),
        feed=FeatureFeed(
            rows=_rows(run, number),
            train=_training_features(run, extractor, cut, phase, views),
            train_targets=train.targets,
            held_out=extractor.features(cut, held_out, phase=phase.name),
            held_out_targets=held_out.targets,
        ),
        is_replicated=run.collectives.world > 1 and cut.rest is None and is_small(cut.head, run.plan.micro_rows),
    )


def _training_features(
    run: RunContext, extractor: Extractor, cut: PhaseCut, phase: Phase, views: int
) -> tuple[NDArray[np.float32], ...]:
    from graftwork_jobs.features.extract import Views

    train = run.index.splits["train"]
    if not run.inputs.is_random:
        return (extractor.features(cut, train, phase=phase.name),)
    drawn = Views(count=views, seed=run.request.job.spec.training.seed)
    return extractor.views(cut, train, drawn, phase=phase.name)


def _rows(run: RunContext, number: int) -> Rows:
    seed = run.request.job.spec.training.seed
    return Rows(plan=run.plan, seed=seed, phase=number, weights=run.row_weights)


def _input_feed(run: RunContext, number: int) -> InputFeed:
    return InputFeed(
        rows=_rows(run, number),
        train=run.index.splits["train"],
        held_out=run.index.splits["validation"],
        inputs=run.inputs,
    )


def _extractor(run: RunContext) -> Extractor:
    from graftwork_jobs.features.extract import Extractor
    from graftwork_jobs.features.store import FeatureStore

    return Extractor(
        store=FeatureStore.below(run.request.features_dir),
        collectives=run.collectives,
        node=run.host.node,
        run=run.request.run_name,
        inputs=run.inputs,
        tell=run.tell,
        pulse=run.pulse,
    )
