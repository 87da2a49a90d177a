"""What follows from an epoch's validation: is it the best, should the phase end, should the learning rate fall.

Pure: states and decisions are values, so they go into checkpoints and a resumed run decides as the undisturbed one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from graftwork.spec.fine_tune_job import EarlyStopping, ReduceOnPlateau

_DEFAULT_MONITOR = "val_loss"


@dataclass(frozen=True, kw_only=True)
class PhaseState:
    """What a phase remembers of its epochs.

    Attributes:
        best_epoch: epoch (from 0) with the best validation so far.
        best_value: what it reached.
        stopping_value: best value that counted as progress for early stopping.
        epochs_without_progress: since then, for early stopping.
        plateau_value: best value that counted as progress for the learning rate.
        epochs_on_plateau: since then or since the last reduction.
        learning_rate_scale: what the phase's learning rate is multiplied by.
    """

    best_epoch: int | None = None
    best_value: float | None = None
    stopping_value: float | None = None
    epochs_without_progress: int = 0
    plateau_value: float | None = None
    epochs_on_plateau: int = 0
    learning_rate_scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class EpochDecision:
    """What to do after an epoch.

    Attributes:
        state: what to remember.
        is_best: keep this epoch's weights.
        stop: end the phase.
        reduced: the learning rate was lowered.
    """

    state: PhaseState
    is_best: bool
    stop: bool
    reduced: bool


def decide(
    state: PhaseState,
    *,
    epoch: int,
    metrics: Mapping[str, float],
    learning_rate: float,
    early_stopping: EarlyStopping | None,
    reduce_on_plateau: ReduceOnPlateau | None,
) -> EpochDecision:
    """Decide after an epoch.

    Args:
        state: what the phase remembers.
        epoch: which epoch of the phase just ended, from 0.
        metrics: its figures; must hold what the rules monitor.
        learning_rate: the phase's, before any reduction.
        early_stopping: the job's rule, if any; its monitor also says which epoch is the best.
        reduce_on_plateau: the job's rule, if any.
    """
    monitor = early_stopping.monitor if early_stopping is not None else _DEFAULT_MONITOR
    value = metrics[monitor]
    is_best = _improves(monitor, value, state.best_value, 0.0)
    if is_best:
        state = replace(state, best_epoch=epoch, best_value=value)
    state, stop = _early_stopping(state, metrics, early_stopping)
    state, reduced = _plateau(state, metrics, learning_rate, reduce_on_plateau)
    return EpochDecision(state=state, is_best=is_best, stop=stop, reduced=reduced)


def of_next_stage(state: PhaseState) -> PhaseState:
    """What a phase remembers when other layers begin to train: the epochs without progress were those of the old."""
    return replace(state, epochs_without_progress=0, epochs_on_plateau=0)


def _early_stopping(
    state: PhaseState, metrics: Mapping[str, float], rule: EarlyStopping | None
) -> tuple[PhaseState, bool]:
    if rule is None:
        return state, False
    value = metrics[rule.monitor]
    if _improves(rule.monitor, value, state.stopping_value, rule.min_delta):
        return replace(state, stopping_value=value, epochs_without_progress=0), False
    waited = state.epochs_without_progress + 1
    return replace(state, epochs_without_progress=waited), waited >= rule.patience


def _plateau(
    state: PhaseState, metrics: Mapping[str, float], learning_rate: float, rule: ReduceOnPlateau | None
) -> tuple[PhaseState, bool]:
    if rule is None:
        return state, False
    value = metrics[rule.monitor]
    if _improves(rule.monitor, value, state.plateau_value, 0.0):
        return replace(state, plateau_value=value, epochs_on_plateau=0), False
    waited = state.epochs_on_plateau + 1
    if waited < rule.patience:
        return replace(state, epochs_on_plateau=waited), False
    floor = min(rule.min_learning_rate / learning_rate, state.learning_rate_scale)
    scale = max(state.learning_rate_scale * rule.factor, floor)
    reduced = scale < state.learning_rate_scale
    return replace(state, epochs_on_plateau=0, learning_rate_scale=scale), reduced


def _improves(monitor: str, value: float, best: float | None, min_delta: float) -> bool:
    if math.isnan(value):
        return False
    if best is None:
        return True
    return value > best + min_delta if monitor != "val_loss" else value < best - min_delta
