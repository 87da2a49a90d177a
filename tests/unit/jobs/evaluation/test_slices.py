from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from graftwork_jobs.evaluation.comparison_view import slice_tables
from graftwork_jobs.evaluation.slice_diagnosis import weak_slice
from graftwork_jobs.evaluation.slices import MOST_SLICES, Slice, slices_of
from graftwork_jobs.targets.classes import ClassTarget
from tests.unit.jobs.evaluation.builders import draw_scores

_LABELS = ("a", "b", "c")


def _slices(column: list[str]) -> tuple[Slice, ...]:
    scores, labels = draw_scores(len(column), 3)
    return slices_of(ClassTarget(_LABELS), scores, labels, {"camera": column})


def test_each_slice_has_the_metrics_of_its_examples() -> None:
    """As if they were the whole test set; the most frequent value first, empty cells by a name of their own."""
    scores, labels = draw_scores(200, 3)
    column = ["phone"] * 120 + ["drone"] * 60 + [""] * 20
    found = slices_of(ClassTarget(_LABELS), scores, labels, {"camera": column})
    assert [(each.value, each.examples, each.is_small) for each in found] == [
        ("phone", 120, False),
        ("drone", 60, False),
        ("(empty)", 20, True),
    ]
    own = ClassTarget(_LABELS).metrics(scores[120:180], labels[120:180]).summary
    assert found[1].summary == own
    low, high = found[1].intervals["f1_macro"]
    assert low <= own["f1_macro"] <= high


def test_columns_of_numbers_are_cut_at_their_quartiles() -> None:
    """Four ranges of about as many examples, equal numbers together; a few numbers are values like others."""
    random = np.random.default_rng(0)
    ages = [f"{age:.0f}" for age in random.normal(40, 10, 400)]
    found = _slices(ages)
    assert len(found) == 4
    assert sum(each.examples for each in found) == 400
    assert all(80 <= each.examples <= 120 for each in found)
    ranges = sorted(tuple(map(float, each.value.split(" to "))) for each in found)
    assert all(above[0] > below[1] for below, above in pairwise(ranges))
    assert len(_slices([str(number % 3) for number in range(90)])) == 3


def test_very_many_values_are_bounded() -> None:
    """The rarest go together, and no example is lost."""
    column = [f"v{number % 90:02d}" for number in range(270)] + ["v00"] * 5
    found = _slices(column)
    assert len(found) == MOST_SLICES
    assert found[0].value == "v00"
    assert found[-1].value == f"{90 - MOST_SLICES + 1} rarer values"
    assert sum(each.examples for each in found) == 275


def _slice(value: str, score: float, examples: int, half: float) -> Slice:
    ends = (score - half, score + half)
    return Slice(column="camera", value=value, examples=examples, summary={"f1": score}, intervals={"f1": ends})


@pytest.mark.parametrize(
    ("weakest", "named"),
    [
        (_slice("drone", 0.60, 100, 0.09), True),
        (_slice("drone", 0.60, 100, 0.35), False),
        (_slice("drone", 0.60, 20, 0.09), False),
        (_slice("drone", 0.88, 90_000, 0.01), False),
    ],
    ids=["clear", "unsure", "small", "slight"],
)
def test_a_weak_slice_is_named_if_it_is_sure_and_clear(weakest: Slice, named: bool) -> None:
    """Neither chance nor a small difference accuses anyone."""
    slices = [_slice("phone", 0.93, 300, 0.03), weakest]
    found = weak_slice(slices, score="f1", words="F1", whole=0.9, examples=100_000)
    assert (found is not None) == named
    if found is not None:
        assert found.title == "Weaker where camera is drone"
        assert "0.600 (0.510 to 0.690)" in found.evidence


def test_the_only_slice_is_not_weaker_than_itself() -> None:
    """A column with one value says nothing."""
    assert weak_slice([_slice("phone", 0.5, 100, 0.01)], score="f1", words="F1", whole=0.9, examples=100) is None


def test_slices_of_numbers_are_ordered_by_their_error() -> None:
    """R2 is low where the truth hardly varies, however small the error; slices without a figure come last."""
    parts = [
        Slice(column="camera", value=value, examples=40, summary=summary, intervals={})
        for value, summary in (("alike", {"r2": -3.7, "mae": 10.3}), ("far", {"r2": 0.2, "mae": 23.7}), ("none", {}))
    ]
    (table,) = slice_tables(parts, score="r2", second="mae", slice_score="mae", whole=0.5)
    assert [row.slice.value for row in table.rows] == ["far", "alike", "none"]
    (table,) = slice_tables(parts, score="accuracy", second="r2", slice_score="r2", whole=0.5)
    assert [row.slice.value for row in table.rows] == ["alike", "far", "none"]


@pytest.mark.parametrize(("half", "named"), [(0.9, True), (4.0, False)])
def test_a_slice_of_numbers_is_weak_by_its_error(half: float, named: bool) -> None:
    """Higher is worse, and in the user's own units."""
    slices = [
        Slice(column="camera", value=value, examples=80, summary={"mae": error}, intervals={"mae": (low, high)})
        for value, error, low, high in (("phone", 2.0, 1.5, 2.5), ("drone", 5.25, 5.25 - half, 5.25 + half))
    ]
    found = weak_slice(slices, score="mae", words="mean absolute error", whole=3.0, examples=160)
    assert (found is not None) == named
    if found is not None:
        assert found.title == "Weaker where camera is drone"
        assert "The mean absolute error is 5.25 (4.35 to 6.15)" in found.evidence
