"""Splits by fraction: stratified, seeded, independent of order, and never through identical pictures."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graftwork_jobs.data.splits import smallest_class_size, split_by_fraction

FRACTIONS = {"validation": 0.15, "test": 0.25}


def made_up(counts: dict[str, int]) -> tuple[list[str], list[str]]:
    labels = [label for label, count in counts.items() for _ in range(count)]
    return labels, [f"digest-{row}" for row in range(len(labels))]


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(3, 40), min_size=2), st.integers(0, 2**31 - 1))
def test_each_class_gives_its_share(counts: dict[str, int], seed: int) -> None:
    """Parts are disjoint, cover everything, and hold the rounded fraction of every class but at least one."""
    labels, digests = made_up(counts)
    parts = split_by_fraction(labels, digests, FRACTIONS, seed=seed)
    assert sorted(row for rows in parts.values() for row in rows) == list(range(len(labels)))
    for name, fraction in FRACTIONS.items():
        drawn = Counter(labels[row] for row in parts[name])
        for label, count in counts.items():
            assert drawn[label] == max(1, int(fraction * count + 0.5))


def test_order_of_the_files_does_not_matter() -> None:
    """The same contents in another order are split the same way."""
    labels, digests = made_up({"a": 20, "b": 13})
    forward = split_by_fraction(labels, digests, FRACTIONS, seed=1)
    backward = split_by_fraction(labels[::-1], digests[::-1], FRACTIONS, seed=1)
    for name, rows in forward.items():
        assert {digests[row] for row in rows} == {digests[::-1][row] for row in backward[name]}


def test_another_class_leaves_the_others_alone() -> None:
    """Adding a class does not move pictures of other classes."""
    labels, digests = made_up({"a": 20, "b": 13})
    before = split_by_fraction(labels, digests, FRACTIONS, seed=1)
    after = split_by_fraction([*labels, *"ccccc"], [*digests, *"vwxyz"], FRACTIONS, seed=1)
    assert [row for row in after["test"] if row < 33] == before["test"]


def test_more_data_leaves_nearly_all_where_it_was() -> None:
    """A tenth more: what trained goes on to train, but for the few that the larger parts need."""
    labels, digests = made_up({"a": 200, "b": 100})
    more_labels, more = ["a"] * 20 + ["b"] * 10, [f"more-{number}" for number in range(30)]
    before = split_by_fraction(labels, digests, FRACTIONS, seed=1)
    after = split_by_fraction([*labels, *more_labels], [*digests, *more], FRACTIONS, seed=1)
    parts = {row: name for name, rows in after.items() for row in rows}
    moved = [row for name, rows in before.items() for row in rows if parts[row] != name]
    assert len(moved) <= 10
    # None goes from one part to the other.
    assert not set(before["validation"]) & set(after["test"])
    assert not set(before["test"]) & set(after["validation"])


def test_seed_matters() -> None:
    """Another seed draws other pictures."""
    labels, digests = made_up({"a": 40, "b": 40})
    assert split_by_fraction(labels, digests, FRACTIONS, seed=1) != split_by_fraction(
        labels, digests, FRACTIONS, seed=2
    )


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 12)), min_size=1, max_size=80), st.integers(0, 99))
def test_identical_pictures_stay_together(rows: list[tuple[str, int]], seed: int) -> None:
    """No content occurs in two parts, not even under two labels."""
    labels, digests = [label for label, _ in rows], [str(content) for _, content in rows]
    parts = split_by_fraction(labels, digests, FRACTIONS, seed=seed)
    places = {(digests[row], name) for name, drawn in parts.items() for row in drawn}
    assert len(places) == len(set(digests))


@pytest.mark.parametrize("fractions", [{}, {"test": 0.5}, FRACTIONS])
def test_smallest_class_reaches_every_part(fractions: dict[str, float]) -> None:
    """A class of the smallest allowed size has a picture in every part."""
    count = smallest_class_size(fractions)
    labels, digests = made_up({"a": count, "b": 30})
    parts = split_by_fraction(labels, digests, fractions, seed=0)
    assert all(any(labels[row] == "a" for row in rows) for rows in parts.values())


def test_many_identical_pictures_train() -> None:
    """They would fill a part, and tell nothing there that one of them does not."""
    digests = ["blank"] * 37 + [f"digest-{row}" for row in range(123)]
    for seed in range(20):
        parts = split_by_fraction(["a"] * 160, digests, FRACTIONS, seed=seed)
        assert set(range(37)) <= set(parts["train"])
        assert (len(parts["validation"]), len(parts["test"])) == (24, 40)


def test_large_groups_alone_still_reach_every_part() -> None:
    """Where there is nothing smaller."""
    digests = [f"digest-{row // 10}" for row in range(40)]
    parts = split_by_fraction(["a"] * 40, digests, FRACTIONS, seed=3)
    assert (len(parts["train"]), len(parts["validation"]), len(parts["test"])) == (20, 10, 10)
