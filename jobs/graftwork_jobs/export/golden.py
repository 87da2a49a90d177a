"""Which pictures go into a bundle as golden examples, and what the trained model says to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from graftwork.errors import Problem, SpecError
from graftwork.preprocess.image import ImageError, ImageSpec, decode_image

MAX_GOLDEN = 8
# A golden picture travels with every copy of the bundle and is decoded at every start of a replica.
_LARGE_FILE_BYTES = 2 << 20


@dataclass(frozen=True, kw_only=True)
class GoldenCandidate:
    """A picture that may become a golden example.

    Attributes:
        uri: where it is.
        label: its target in words, such as its class.
        group: picks come from all groups, such as classes.
    """

    uri: str
    label: str
    group: str


@dataclass(frozen=True, kw_only=True)
class GoldenPick:
    """A picture that did.

    Attributes:
        name: file name in the bundle's golden directory.
        label: its target in words.
        content: the file as a client would send it.
        pixels: RGB 0..255, shape (height, width, 3), uint8.
    """

    name: str
    label: str
    content: bytes
    pixels: NDArray[np.uint8]


def pick_golden(
    candidates: Sequence[GoldenCandidate],
    image: ImageSpec,
    locate: Callable[[str], Path],
) -> tuple[GoldenPick, ...]:
    """Pick up to eight readable pictures spread over the groups; the same candidates give the same picks.

    Large files are passed over; if there is nothing else, the smallest of them is taken.

    Args:
        candidates: pictures, best from the test set, in any order.
        image: what pictures are brought to.
        locate: gives the local file of a URI.

    Raises:
        SpecError: no candidate can be read.
    """
    picks: list[GoldenPick] = []
    refused: list[str] = []
    large: list[tuple[int, GoldenCandidate]] = []
    for candidate in _spread(candidates):
        if len(picks) == MAX_GOLDEN:
            break
        if (size_bytes := locate(candidate.uri).stat().st_size) > _LARGE_FILE_BYTES:
            large.append((size_bytes, candidate))
        else:
            _try(candidate, image, locate, picks, refused)
    for _, candidate in sorted(large, key=lambda entry: entry[0]):
        if picks:  # one is enough to notice a wrong engine
            break
        _try(candidate, image, locate, picks, refused)
    if not picks:
        raise SpecError(
            Problem(
                where="spec.data.test",
                received=refused[0] if refused else "no pictures",
                expected="at least one readable picture to become a golden example of the bundle",
                fix="Check the test data: every bundle carries pictures that its engine must answer as in training.",
            )
        )
    return tuple(picks)


def _try(
    candidate: GoldenCandidate,
    image: ImageSpec,
    locate: Callable[[str], Path],
    picks: list[GoldenPick],
    refused: list[str],
) -> None:
    content = locate(candidate.uri).read_bytes()
    try:
        pixels = decode_image(content, image)
    except ImageError as error:
        refused.append(f"{candidate.uri}: {error}")
        return
    name = f"{len(picks)}{_suffix(candidate.uri)}"
    picks.append(GoldenPick(name=name, label=candidate.label, content=content, pixels=pixels))


def _spread(candidates: Sequence[GoldenCandidate]) -> Iterator[GoldenCandidate]:
    """All candidates: first one of each group, then a second one of each group, and so on.

    Groups come evenly spaced when there are more of them than golden examples.
    """
    groups = sorted({candidate.group for candidate in candidates})
    by_group: dict[str, list[GoldenCandidate]] = {group: [] for group in _evenly_first(groups)}
    for candidate in sorted(candidates, key=lambda candidate: candidate.uri):
        by_group[candidate.group].append(candidate)
    for nth_of_each in zip_longest(*by_group.values()):
        yield from (candidate for candidate in nth_of_each if candidate is not None)


def _evenly_first(groups: Sequence[str]) -> list[str]:
    if len(groups) <= MAX_GOLDEN:
        return list(groups)
    chosen = [groups[round(index * (len(groups) - 1) / (MAX_GOLDEN - 1))] for index in range(MAX_GOLDEN)]
    return [*chosen, *(group for group in groups if group not in set(chosen))]


def _suffix(uri: str) -> str:
    suffix = PurePosixPath(uri).suffix.lower()
    return suffix if suffix.removeprefix(".").isalnum() else ""
