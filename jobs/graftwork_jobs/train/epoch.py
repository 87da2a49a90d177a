"""One pass through the training data: steps, a watch for gradients that are not finite, checkpoints on the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from graftwork.errors import PermanentError
from graftwork.spec.fine_tune_job import Phase
from graftwork_jobs.train.pace import Pace
from graftwork_jobs.train.phase_parts import PhaseParts
from graftwork_jobs.train.run_context import RunContext

if TYPE_CHECKING:
    from graftwork_jobs.train.steps import Steps

_PROGRESS_EVERY_S = 1.0
CHECK_EVERY_UPDATES = 16
"""Weight updates between two looks for a gradient that is not finite. A look waits for the device; the step is
remembered exactly either way."""


def train_epoch(
    run: RunContext,
    part: PhaseParts,
    epoch: int,
    steps: Steps,
    pace: Pace,
    *,
    start_step: int,
    save: Callable[[int], None],
) -> None:
    """Go through the training data once, or go on with that.

    Args:
        run: what this worker holds.
        part: what the phase trains.
        epoch: which epoch of the phase, from 0.
        steps: of the phase.
        pace: how many of them at once.
        start_step: steps that were done before.
        save: commits a checkpoint after so many steps of the epoch.

    Raises:
        PermanentError: a gradient is NaN or infinite.
    """
    from graftwork_jobs.train.objective import with_validity

    pieces = run.plan.pieces
    last = run.plan.steps(len(run.index.splits["train"]))
    batches = steps.batches(part.training(epoch, start_step=start_step).map(with_validity))
    run.checkpointing.begin_epoch()
    told = time.monotonic()
    step, check_at = start_step, start_step + CHECK_EVERY_UPDATES * pieces
    while step < last:
        count = min(pace.steps, last - step)
        with pace.measured(count):
            steps.run(batches, count)
        step += count
        if step >= check_at or step == last:
            _refuse_nan(run, part, steps, epoch)
            check_at = step + CHECK_EVERY_UPDATES * pieces
        if time.monotonic() - told >= _PROGRESS_EVERY_S:
            told = time.monotonic()
            run.tell("progress", phase=part.spec.name, epoch=epoch + 1, step=step, steps=last)
        if step % pieces == 0 and step < last and run.checkpointing.is_due((step - start_step) // pieces):
            _refuse_nan(run, part, steps, epoch)
            steps.settle()
            save(step)
    steps.settle()


def _refuse_nan(run: RunContext, part: PhaseParts, steps: Steps, epoch: int) -> None:
    bad = steps.bad_update()
    if bad is None:
        return
    step = bad.update - epoch * run.plan.updates(len(run.index.splits["train"])) + 1
    layer = part.model.trainable_variables[bad.variable].path.rpartition("/")[0]
    what = f", batch {step}: the gradient is NaN or infinite from layer {layer} downwards"
    raise PermanentError(nan_message(part.spec, epoch, what))


def nan_message(phase: Phase, epoch: int, what: str) -> str:
    """What a user reads when training diverged.

    Args:
        phase: where.
        epoch: which epoch of it, from 0.
        what: more about where, and what was seen.
    """
    return (
        f"Training diverged in phase {phase.name}, epoch {epoch + 1}{what}. The last good checkpoint is kept. "
        f"Lower the learning rate of phase {phase.name} (now {phase.learning_rate:g}), "
        "or set training.gradientClipNorm (1.0 is a good start), and run the job again."
    )
