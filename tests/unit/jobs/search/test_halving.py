from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwork_jobs.search.halving import Halving, rungs_of


@pytest.mark.parametrize(
    ("epochs", "rungs"), [(1, ()), (2, (1,)), (3, (1,)), (9, (1, 3)), (20, (2, 7)), (90, (10, 30))]
)
def test_rungs_lie_at_a_ninth_and_a_third(epochs: int, rungs: tuple[int, ...]) -> None:
    """As far as there are epochs between them."""
    assert rungs_of(epochs) == rungs


def test_the_best_third_goes_on() -> None:
    """Of those with lower numbers, and itself."""
    halving = Halving(rungs=(1,), higher_is_better=False)
    verdicts = []
    for trial, loss in enumerate([0.5, 0.6, 0.4, 0.45, 0.41]):
        halving.report(trial, 1, loss)
        verdicts.append(halving.may_go_on(trial, 1))
    assert verdicts == [True, False, True, True, True]


def test_a_trial_waits_for_those_before_it() -> None:
    """Its verdict does not depend on who is faster."""
    halving = Halving(rungs=(2,), higher_is_better=True)
    halving.report(0, 1, 0.5)
    halving.report(1, 1, 0.9)
    assert halving.may_go_on(1, 1) is True
    halving.report(1, 2, 0.6)
    assert halving.may_go_on(1, 2) is None
    halving.end(0, finished=False)
    assert halving.may_go_on(1, 2) is True


def test_a_trial_that_finished_sooner_counts_with_its_best() -> None:
    """One that was ended or failed before the rung does not."""
    halving = Halving(rungs=(3,), higher_is_better=True)
    halving.report(0, 1, 0.8)
    halving.report(0, 2, 0.7)
    halving.end(0, finished=True)
    for epoch in (1, 2, 3):
        halving.report(1, epoch, 0.75)
    assert halving.may_go_on(1, 3) is False
    halving.end(0, finished=False)
    assert halving.may_go_on(1, 3) is True


def test_a_trial_that_began_anew_reports_again() -> None:
    """Its process was lost; what it had reported before is replaced."""
    halving = Halving(rungs=(), higher_is_better=True)
    for value in (0.5, 0.6):
        halving.report(0, 1, value)
        halving.report(0, 2, value + 0.1)
    assert halving.values[0] == [0.6, 0.7]


def _simulate(curves: list[list[float]], concurrent: int, seed: int) -> set[int]:
    """Run trials in order, `concurrent` at a time, with speeds by chance; gives those that were ended early."""
    chance = random.Random(seed)  # noqa: S311 (no secret)
    halving = Halving(rungs=rungs_of(max(map(len, curves))), higher_is_better=False)
    waiting = list(range(len(curves)))
    running: dict[int, int] = {}
    ended: set[int] = set()
    while waiting or running:
        while waiting and len(running) < concurrent:
            running[waiting.pop(0)] = 0
        trial = chance.choice(sorted(running))
        epoch = running[trial]
        if epoch and halving.may_go_on(trial, epoch) is None:
            continue
        if epoch and halving.may_go_on(trial, epoch) is False:
            ended.add(trial)
            halving.end(trial, finished=False)
            del running[trial]
        elif epoch == len(curves[trial]):
            halving.end(trial, finished=True)
            del running[trial]
        else:
            running[trial] = epoch + 1
            halving.report(trial, epoch + 1, curves[trial][epoch])
    return ended


@given(
    st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=10), min_size=1, max_size=12),
    st.integers(2, 6),
    st.integers(0, 1000),
)
@settings(max_examples=150)
def test_the_same_trials_are_ended_whatever_the_speed(curves: list[list[float]], concurrent: int, seed: int) -> None:
    """One at a time or several, in any order of arrival; and nobody waits for ever."""
    assert _simulate(curves, concurrent, seed) == _simulate(curves, 1, 0)
