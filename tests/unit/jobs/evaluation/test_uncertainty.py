from __future__ import annotations

import numpy as np
import pytest

from graftwork_jobs.evaluation.uncertainty import (
    beyond_chance,
    chance_of_at_most,
    most_discordant,
    most_unseen,
    standard_error,
    wilson_interval,
)


def test_wilson_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Over repeated draws the 95 % interval holds the true share in 93 to 97 of 100."""
    random = np.random.default_rng(5)
    draws = random.binomial(40, 0.85, 4000) / 40
    inside = [low <= 0.85 <= high for low, high in (wilson_interval(float(share), 40) for share in draws)]
    assert 0.93 < np.mean(inside) < 0.97


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_extreme_shares_of_few_examples_are_not_certain(share: float) -> None:
    """None or all of ten right still leaves an interval and an error, within 0..1."""
    low, high = wilson_interval(share, 10)
    assert 0 <= low < high <= 1
    assert standard_error(share, 10) > 0.05


def test_standard_error_approaches_the_binomial_one() -> None:
    """With many examples the error is sqrt(p(1-p)/n)."""
    assert standard_error(0.3, 100_000) == pytest.approx(np.sqrt(0.3 * 0.7 / 100_000), rel=1e-3)


def test_binomial_tail_equals_repeated_draws() -> None:
    """The exact tail equals the share of 200,000 draws with so few hits."""
    draws = np.random.default_rng(1).binomial(12, 0.8, 200_000)
    assert chance_of_at_most(7, 12, 0.8) == pytest.approx(np.mean(draws <= 7), abs=2e-3)


@pytest.mark.parametrize(("hits", "share", "chance"), [(5, 0.3, 1.0), (0, 0.0, 1.0), (4, 1.0, 0.0)])
def test_binomial_tail_at_its_ends(hits: int, share: float, chance: float) -> None:
    """All draws hit at most as often as there are draws; certain hits never stay away."""
    assert chance_of_at_most(hits, 5, share) == chance


def test_binomial_tail_of_many_examples_stays_a_chance() -> None:
    """Large sets neither overflow nor leave 0..1."""
    assert 0.45 < chance_of_at_most(90_000, 100_000, 0.9) < 0.55


def test_beyond_chance_has_zero_at_chance_and_one_at_perfection() -> None:
    """The rescaled accuracy is 0 at chance and 1 for a perfect model."""
    assert beyond_chance(0.25, 0.25) == 0.0
    assert beyond_chance(1.0, 0.25) == 1.0


@pytest.mark.parametrize("examples", [1, 16, 1000])
def test_what_none_of_so_many_leaves_open(examples: int) -> None:
    """Pairs: none in so many is seen one time in twenty. Right answers: Wilson's bound, which is n / (n + z^2)."""
    assert chance_of_at_most(0, examples, most_discordant(examples)) == pytest.approx(0.05)
    assert most_unseen(examples) == pytest.approx(1.96**2 / (examples + 1.96**2), rel=1e-3)
