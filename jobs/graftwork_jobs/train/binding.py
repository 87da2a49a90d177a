"""What is bound to the variables that train, made afresh for each stage of a phase: model, optimizer, counters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graftwork_jobs.distributed.collectives import ALONE, Collectives
from graftwork_jobs.train.epoch import CHECK_EVERY_UPDATES
from graftwork_jobs.train.pace import Pace
from graftwork_jobs.train.phase_parts import PhaseParts, make_phase
from graftwork_jobs.train.replicated import ReplicatedSteps
from graftwork_jobs.train.run_context import RunContext

if TYPE_CHECKING:
    import keras

    from graftwork_jobs.distributed.gradient_tap import Tap
    from graftwork_jobs.model.stages import Stage
    from graftwork_jobs.train.checkpoint import Checkpoint
    from graftwork_jobs.train.optimizers import ScheduledLearningRate
    from graftwork_jobs.train.steps import Steps


@dataclass(frozen=True, kw_only=True)
class Binding:
    """What is bound to the variables that train in a stage.

    Attributes:
        part: what is trained, on what.
        optimizer: built for these variables.
        learning_rate: the optimizer's.
        steps: train the model.
        pace: how many steps run in one call.
    """

    part: PhaseParts
    optimizer: keras.optimizers.Optimizer
    learning_rate: ScheduledLearningRate
    steps: Steps
    pace: Pace


def bind(
    run: RunContext,
    number: int,
    stages: Sequence[Stage],
    position: int,
    before: keras.optimizers.Optimizer | None,
    epoch: int,
) -> Binding:
    """Freeze what does not train in a stage and bind everything to the rest. All workers call it alike.

    Args:
        run: what this worker holds.
        number: of the phase, from 0.
        stages: of the phase.
        position: which of them.
        before: optimizer of what trained so far in the phase; None at its beginning.
        epoch: of the phase, from 0, that training goes on with.

    Raises:
        PermanentError: several workers differ from one.
    """
    from graftwork_jobs.model.freeze import apply_freeze
    from graftwork_jobs.train.late_start import carry_over
    from graftwork_jobs.train.steps import make_steps, make_tap

    spec, stage = run.request.job.spec, stages[position]
    apply_freeze(run.network, stage.boundary)
    part = make_phase(run, number, stage)
    together = ALONE if part.is_replicated else run.collectives
    tap = make_tap() if together.world > 1 and spec.scaling.preflight == "auto" else None
    optimizer, learning_rate = _optimizer(run, number, stages, position, tap, together.in_step)
    if before is not None:
        carry_over(before, optimizer)
    steps = make_steps(part.model, optimizer, run.target, together, tap)
    if part.is_replicated:
        steps = ReplicatedSteps(steps, run.collectives)
        run.tell("replicated", phase=part.spec.name, workers=run.collectives.world)
    pace = Pace(
        run.collectives,
        pieces=run.plan.pieces,
        asked=spec.training.steps_per_execution if isinstance(spec.training.steps_per_execution, int) else None,
        most=CHECK_EVERY_UPDATES,
    )
    bound = Binding(part=part, optimizer=optimizer, learning_rate=learning_rate, steps=steps, pace=pace)
    if tap is not None:
        _preflight(run, bound, epoch)
    return bound


def stored_optimizer(
    run: RunContext, number: int, stages: Sequence[Stage], checkpoint: Checkpoint
) -> keras.optimizers.Optimizer | None:
    """The optimizer that a checkpoint holds, bound to what trained then; None before a phase's first update."""
    from graftwork_jobs.model.freeze import apply_freeze
    from graftwork_jobs.model.stages import stage_at
    from graftwork_jobs.train.checkpoint import assign

    state = checkpoint.state
    if not (state.epochs_done or state.steps_done):
        return None
    # What follows a whole epoch may be another stage; the optimizer is of the one that the epoch was in.
    position = stage_at(stages, state.epochs_done if state.steps_done else state.epochs_done - 1)
    apply_freeze(run.network, stages[position].boundary)
    optimizer, _ = _optimizer(run, number, stages, position, None, ALONE)
    assign(optimizer.variables, checkpoint.optimizer)
    return optimizer


def _optimizer(
    run: RunContext, number: int, stages: Sequence[Stage], position: int, tap: Tap | None, together: Collectives
) -> tuple[keras.optimizers.Optimizer, ScheduledLearningRate]:
    """The optimizer of a stage, for what is not frozen now; averages over those workers."""
    from graftwork_jobs.model.depth import rate_shares
    from graftwork_jobs.model.stages import first_epochs
    from graftwork_jobs.train.optimizers import Schedule, ScheduledLearningRate, make_optimizer

    training, network = run.request.job.spec.training, run.network
    updates = run.plan.updates(len(run.index.splits["train"]))
    schedule = Schedule.of_phase(run.request.job.spec.phases[number], updates)
    learning_rate = ScheduledLearningRate(schedule, pieces=run.plan.pieces)
    trained, decay = network.model.trainable_variables, training.layer_decay
    optimizer = make_optimizer(
        training,
        learning_rate,
        trained,
        together,
        tap,
        None if decay is None else rate_shares(network, trained, decay),
        [updates * epoch for epoch in first_epochs(network, stages[: position + 1], trained)],
    )
    return optimizer, learning_rate


def _preflight(run: RunContext, bound: Binding, epoch: int) -> None:
    """Refuse to train what several workers train differently from one."""
    from graftwork_jobs.train.objective import with_validity
    from graftwork_jobs.train.preflight import UPDATES, Subject, preflight

    part = bound.part
    updates = min(UPDATES, run.plan.updates(len(run.index.splits["train"])))
    passed = preflight(
        Subject(
            phase=part.spec.name,
            steps=bound.steps,
            model=part.model,
            variables=run.network.model.variables,
            optimizer=bound.optimizer,
            together=part.feed.training(epoch).map(with_validity),
            by_one=part.feed.by_one().training(epoch).map(with_validity),
            pieces=run.plan.pieces,
            rows_per_worker=run.plan.rows_per_rank,
            whole=run.network.batch_norm_training,
        ),
        run.collectives,
        updates=updates,
    )
    run.tell(
        "preflight",
        phase=part.spec.name,
        workers=run.collectives.world,
        updates=passed.updates,
        seconds=round(passed.seconds, 3),
        share_of_rounding=passed.largest,
    )
