"""Cuts shares off the training data: class by class, seeded, and never through a set of identical pictures. Pure."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

# Identical pictures that any part may have.
_FEW = 2
# How much of its share a part may become through groups of identical pictures.
_LARGEST = 1.25


def split_by_fraction(
    labels: Sequence[str], digests: Sequence[str], fractions: Mapping[str, float], *, seed: int
) -> dict[str, list[int]]:
    """Draw parts of the rows at random, each with its fraction of every class, rounded, and at least one example.

    The result depends on contents and seed only, not on the order or the names of the files; another class more or
    less does not change how the others are cut. Where data is added, nearly all examples stay in the part they were
    in: a model trained on more of it can be tested where the one before was. Identical pictures stay together, counted
    to the class whose name sorts first if they carry several.

    Args:
        labels: class name of each row.
        digests: content digest of each row.
        fractions: share of each part to draw; their sum is below 1.
        seed: the job's seed.

    Returns:
        Row numbers, ascending, of each part and of the remainder under `train`. Parts get fewer than their share, and
        perhaps none, of a class that has too few different pictures (`smallest_class_size`).
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(digests):
        groups[digest].append(row)
    by_class: dict[str, list[str]] = defaultdict(list)
    for digest in sorted(groups):
        by_class[min(labels[row] for row in groups[digest])].append(digest)
    parts: dict[str, list[int]] = {name: [] for name in ("train", *fractions)}
    for members in by_class.values():
        drawn = [groups[digest] for digest in sorted(members, key=lambda digest: _lot(digest, seed))]
        for name, rows in zip(parts, _cut(drawn, list(fractions.values())), strict=True):
            parts[name].extend(rows)
    return {name: sorted(rows) for name, rows in parts.items()}


def smallest_class_size(fractions: Mapping[str, float]) -> int:
    """Different pictures a class needs so that every part and the remainder get one."""
    return len(fractions) + 1


def _lot(digest: str, seed: int) -> bytes:
    """Where a content stands in the order that parts are cut from: its own place, whatever else there is."""
    return hashlib.sha256(f"{seed} {digest}".encode()).digest()


def _cut(groups: list[list[int]], fractions: list[float]) -> list[list[int]]:
    """The remainder and then each part, as rows; one group at least is left for those that still come.

    Parts are cut from both ends in turn, so that what one part gains is no other's loss. Many identical pictures tell a
    part no more than one of them does: where it can be, they are left to the others, in the end to the remainder.
    """
    total = sum(len(group) for group in groups)
    waiting = list(groups)
    parts: list[list[int]] = []
    for number, fraction in enumerate(fractions):
        wanted = max(1, int(fraction * total + 0.5))
        order = range(len(waiting)) if number % 2 else range(len(waiting) - 1, -1, -1)
        chosen = _chosen([len(group) for group in waiting], order, wanted, most=len(waiting) - len(fractions) + number)
        parts.append([row for place in chosen for row in waiting[place]])
        waiting = [group for place, group in enumerate(waiting) if place not in chosen]
    return [[row for group in waiting for row in group], *parts]


def _chosen(sizes: Sequence[int], order: Sequence[int], wanted: int, *, most: int) -> dict[int, None]:
    """Which groups make up a part of `wanted` rows, `most` of them at most, in their order."""
    chosen: dict[int, None] = {}
    size = 0
    # Small groups first, then larger ones that fit; where there are none but larger ones, the smallest of these.
    for largest in (max(_FEW, wanted // 10), int(wanted * _LARGEST)):
        for place in order:
            if size >= wanted or len(chosen) >= most:
                return chosen
            if place not in chosen and sizes[place] <= largest and size + sizes[place] <= max(1, wanted * _LARGEST):
                chosen[place] = None
                size += sizes[place]
    return chosen or ({min(order, key=lambda place: sizes[place]): None} if most > 0 else {})
