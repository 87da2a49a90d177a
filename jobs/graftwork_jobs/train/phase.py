"""One phase of the training recipe: its stages, epochs and checkpoints. Runs alike on all workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from graftwork.errors import PermanentError
from graftwork.spec.fine_tune_job import Phase
from graftwork_jobs.train.binding import Binding, bind, stored_optimizer
from graftwork_jobs.train.epoch import nan_message, train_epoch
from graftwork_jobs.train.epoch_policy import decide, of_next_stage
from graftwork_jobs.train.run_context import RunContext

if TYPE_CHECKING:
    from graftwork_jobs.model.stages import Stage
    from graftwork_jobs.train.checkpoint import Arrays, Checkpoint, TrainState


def train_phase(run: RunContext, number: int, state: TrainState, checkpoint: Checkpoint | None) -> TrainState:
    """Train a phase stage by stage, or go on with it; ends with the best epoch's weights.

    Args:
        run: what this worker holds; the network is where `checkpoint` left it.
        number: of the phase, from 0.
        state: how far the run is.
        checkpoint: what the run goes on from; None at the beginning of a phase.

    Returns:
        How far the run is then.

    Raises:
        PermanentError: the loss became NaN, or several workers differ from one.
    """
    from graftwork_jobs.model.adapters import merge_adapters
    from graftwork_jobs.model.stages import stage_at, stages_of
    from graftwork_jobs.train.checkpoint import TrainState, assign, values_of

    phase, variables = run.request.job.spec.phases[number], run.network.model.variables
    stages = stages_of(run.network, phase)
    optimizer = None if checkpoint is None else stored_optimizer(run, number, stages, checkpoint)
    best = values_of(variables) if checkpoint is None or optimizer is None else checkpoint.best
    first, bound = stage_at(stages, state.epochs_done), None
    for position in range(first, len(stages)):
        if state.phase_ended:
            break
        bound = bind(run, number, stages, position, optimizer, state.epochs_done)
        optimizer = bound.optimizer
        if position == first:
            steps = run.plan.steps(len(run.index.splits["train"]))
            run.tell("phase_started", phase=phase.name, number=number, epochs=phase.epochs, steps=steps)
        if position:
            _tell_unfrozen(run, phase, stages[position])
        state, best = _train_stage(run, bound, stages[position], state, best)

    assign(variables, best)
    if bound is not None and bound.part.is_replicated:
        # Nothing kept the workers together; on unlike processors they differ by rounding.
        run.collectives.broadcast(variables)
    merge_adapters(run.network, seed=run.request.job.spec.training.seed)
    best_epoch = state.phase_state.best_epoch
    run.tell("phase_finished", phase=phase.name, epochs=state.epochs_done, best_epoch=(best_epoch or 0) + 1)
    return TrainState(phase=number + 1, history=state.history)


def _tell_unfrozen(run: RunContext, phase: Phase, stage: Stage) -> None:
    boundary = stage.boundary
    run.tell(
        "unfrozen",
        phase=phase.name,
        epoch=stage.first_epoch + 1,
        layer=boundary.first_trainable_layer,
        parameters=boundary.trainable_parameters,
    )


def _train_stage(
    run: RunContext, bound: Binding, stage: Stage, state: TrainState, best: Arrays
) -> tuple[TrainState, Arrays]:
    """The epochs of a stage that are still to be trained; gives how far the run is, and the best epoch's weights."""
    from graftwork_jobs.train.checkpoint import Checkpoint, TrainState, values_of
    from graftwork_jobs.train.optimizers import averaged_weights

    training, phase = run.request.job.spec.training, bound.part.spec
    examples, network = len(run.index.splits["train"]), run.network.model
    if state.epochs_done == stage.first_epoch and not state.steps_done:
        state = replace(state, phase_state=of_next_stage(state.phase_state))

    def kept(state: TrainState) -> Checkpoint:
        moments = values_of(bound.optimizer.variables)
        return Checkpoint(state=state, model=values_of(network.variables), best=best, optimizer=moments)

    for epoch in range(state.epochs_done, stage.first_epoch + stage.epochs):
        bound.learning_rate.scale.assign(state.phase_state.learning_rate_scale)
        seconds = _finish_epoch(run, bound, state, kept)
        with averaged_weights(bound.optimizer):
            figures = _epoch_figures(run, bound, epoch)
            validated = values_of(network.variables)
        decision = decide(
            state.phase_state,
            epoch=epoch,
            metrics=figures,
            learning_rate=phase.learning_rate,
            early_stopping=training.early_stopping,
            reduce_on_plateau=training.reduce_on_plateau,
        )
        if decision.is_best:
            best = validated
        record = {
            "phase": phase.name,
            "epoch": epoch + 1,
            **figures,
            "learning_rate": phase.learning_rate * state.phase_state.learning_rate_scale,
            "seconds": seconds,
            "images_per_s": examples / seconds,
            "is_best": decision.is_best,
        }
        state = TrainState(
            phase=state.phase,
            epochs_done=epoch + 1,
            phase_ended=decision.stop or epoch + 1 == phase.epochs,
            phase_state=decision.state,
            history=(*state.history, record),
        )
        run.checkpointing.after_epoch(record, partial(kept, state))
        run.tell(
            "epoch",
            **record,
            figures=list(figures),
            epochs=phase.epochs,
            stopped=decision.stop,
            learning_rate_lowered=decision.reduced,
        )
        if state.phase_ended:
            break
    return state, best


def _finish_epoch(
    run: RunContext, bound: Binding, state: TrainState, kept: Callable[[TrainState], Checkpoint]
) -> float:
    """Do what is left of an epoch, with checkpoints on the way; gives the seconds that all of it took."""
    part, steps = bound.part, bound.steps
    steps.count_from(state.tally if state.steps_done else ())
    began = time.perf_counter() - state.seconds

    def save(step: int) -> None:
        seconds = time.perf_counter() - began
        reached = replace(state, steps_done=step, tally=tuple(steps.counted().tolist()), seconds=seconds)
        place = {"phase": part.spec.name, "epoch": state.epochs_done + 1, "step": step}
        run.checkpointing.report(place, partial(kept, reached))
        run.tell("checkpoint", **place)

    train_epoch(run, part, state.epochs_done, steps, bound.pace, start_step=state.steps_done, save=save)
    return time.perf_counter() - began


def _epoch_figures(run: RunContext, bound: Binding, epoch: int) -> dict[str, float]:
    """Figures of training and, with `val_` before them, of validation; the same on all workers."""
    from graftwork_jobs.train.evaluate import figures_of

    part = bound.part
    trained = figures_of(bound.steps.counted(), run.target)
    validated = part.evaluator.figures(part.feed.validation(), pulse=run.pulse)
    if not np.isfinite(validated["loss"]):
        raise PermanentError(nan_message(part.spec, epoch, ": the validation loss is NaN or infinite"))
    return trained | {f"val_{name}": value for name, value in validated.items()}
