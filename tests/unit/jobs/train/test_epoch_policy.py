"""What follows from an epoch's validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graftwork.spec.fine_tune_job import EarlyStopping, ReduceOnPlateau
from graftwork_jobs.train.epoch_policy import EpochDecision, PhaseState, decide


def _run(losses: Sequence[float], **rules: Any) -> list[EpochDecision]:
    """Decisions over a row of validation losses; accuracy is their negative."""
    state, decisions = PhaseState(), []
    for epoch, loss in enumerate(losses):
        decision = decide(
            state,
            epoch=epoch,
            metrics={"val_loss": loss, "val_accuracy": -loss},
            learning_rate=rules.get("learning_rate", 0.1),
            early_stopping=rules.get("early_stopping"),
            reduce_on_plateau=rules.get("reduce_on_plateau"),
        )
        state = decision.state
        decisions.append(decision)
    return decisions


@given(st.lists(st.floats(0, 10), min_size=1, max_size=20))
def test_best_epoch_is_the_first_with_the_lowest_loss(losses: list[float]) -> None:
    """Without any rule, validation loss decides, and the earlier of two equals wins."""
    last = _run(losses)[-1]
    assert last.state.best_epoch == losses.index(min(losses))
    assert last.state.best_value == min(losses)


def test_monitor_of_early_stopping_decides_the_best_epoch() -> None:
    """Accuracy counts upwards."""
    rule = EarlyStopping(monitor="val_accuracy", patience=5)
    assert _run([3.0, 1.0, 2.0], early_stopping=rule)[-1].state.best_epoch == 1


@pytest.mark.parametrize(("patience", "stops_at"), [(1, 2), (2, 3), (3, None)])
def test_phase_ends_after_patience(patience: int, stops_at: int | None) -> None:
    """It ends with the epoch that uses up the patience, and progress gives it back."""
    decisions = _run([3.0, 2.0, 2.5, 2.1, 1.0, 0.9], early_stopping=EarlyStopping(patience=patience))
    stopped = [epoch for epoch, decision in enumerate(decisions) if decision.stop]
    assert (stopped[0] if stopped else None) == stops_at


def test_small_steps_are_no_progress_but_can_be_the_best() -> None:
    """`minDelta` is for patience; the best epoch is the best."""
    decisions = _run([1.0, 0.99, 0.98], early_stopping=EarlyStopping(patience=2, min_delta=0.1))
    assert decisions[-1].stop
    assert decisions[-1].state.best_epoch == 2


def test_learning_rate_falls_on_a_plateau_and_waits_again() -> None:
    """Two epochs without progress, factor a half, and anew."""
    rule = ReduceOnPlateau(patience=2, factor=0.5)
    decisions = _run([1.0, 1.0, 1.0, 1.0, 1.0], reduce_on_plateau=rule)
    assert [decision.reduced for decision in decisions] == [False, False, True, False, True]
    assert [decision.state.learning_rate_scale for decision in decisions] == [1.0, 1.0, 0.5, 0.5, 0.25]


def test_learning_rate_never_falls_below_its_floor() -> None:
    """The floor holds, and reaching it is told once."""
    rule = ReduceOnPlateau(patience=1, factor=0.1, min_learning_rate=0.02)
    decisions = _run([1.0, 1.0, 1.0, 1.0], learning_rate=0.1, reduce_on_plateau=rule)
    assert decisions[-1].state.learning_rate_scale == pytest.approx(0.2)
    assert [decision.reduced for decision in decisions] == [False, True, False, False]


def test_a_floor_above_the_learning_rate_never_raises_it() -> None:
    """A phase that starts below the floor stays where it is."""
    rule = ReduceOnPlateau(patience=1, factor=0.5, min_learning_rate=0.01)
    assert _run([1.0, 1.0], learning_rate=0.001, reduce_on_plateau=rule)[-1].state.learning_rate_scale == 1.0


def test_nan_is_never_the_best() -> None:
    """A figure that is no number does not become the best, not even first."""
    assert [decision.is_best for decision in _run([float("nan"), 1.0])] == [False, True]
