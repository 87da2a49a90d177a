"""Which examples go into a bundle as golden examples, and what the trained model says to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path, PurePosixPath

from graftwork.errors import Problem, SpecError
from graftwork.preprocess.image import ImageError
from graftwork.preprocess.inputs import InputSpec, read_batch
from graftwork.preprocess.text import TextError, TextSpec

MAX_GOLDEN = 8
# A golden example travels with every copy of the bundle and is read at every start of a replica.
_LARGE_FILE_BYTES = 2 << 20


@dataclass(frozen=True, kw_only=True)
class GoldenCandidate:
    """An example that may become a golden one.

    Attributes:
        input: where the picture is; or the text itself.
        label: its target in words, such as its class.
        group: picks come from all groups, such as classes.
    """

    input: str
    label: str
    group: str


@dataclass(frozen=True, kw_only=True)
class GoldenPick:
    """An example that did.

    Attributes:
        name: file name in the bundle's golden directory.
        label: its target in words.
        content: the file as a client would send it.
    """

    name: str
    label: str
    content: bytes


def pick_golden(
    candidates: Sequence[GoldenCandidate],
    inputs: InputSpec,
    locate: Callable[[str], Path],
) -> tuple[GoldenPick, ...]:
    """Pick up to eight readable examples spread over the groups; the same candidates give the same picks.

    Large ones are passed over; if there is nothing else, the smallest of them is taken.

    Args:
        candidates: best from the test set, in any order.
        inputs: what examples are brought to.
        locate: gives the local file of a URI.

    Raises:
        SpecError: no candidate can be read.
    """
    picks: list[GoldenPick] = []
    refused: list[str] = []
    large: list[tuple[int, GoldenCandidate]] = []
    source = _Source(inputs=inputs, locate=locate)
    for candidate in _spread(candidates):
        if len(picks) == MAX_GOLDEN:
            break
        if (size_bytes := source.size_bytes(candidate)) > _LARGE_FILE_BYTES:
            large.append((size_bytes, candidate))
        else:
            _try(candidate, source, picks, refused)
    for _, candidate in sorted(large, key=lambda entry: entry[0]):
        if picks:  # one is enough to notice a wrong engine
            break
        _try(candidate, source, picks, refused)
    if not picks:
        raise SpecError(
            Problem(
                where="spec.data.test",
                received=refused[0] if refused else "no examples",
                expected="at least one readable example to become a golden example of the bundle",
                fix="Check the test data: every bundle carries examples that its engine must answer as in training.",
            )
        )
    return tuple(picks)


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Where the content of candidates comes from."""

    inputs: InputSpec
    locate: Callable[[str], Path]

    def size_bytes(self, candidate: GoldenCandidate) -> int:
        if isinstance(self.inputs, TextSpec):
            return len(candidate.input.encode())
        return self.locate(candidate.input).stat().st_size

    def content(self, candidate: GoldenCandidate) -> bytes:
        if isinstance(self.inputs, TextSpec):
            return candidate.input.encode()
        return self.locate(candidate.input).read_bytes()

    def suffix(self, candidate: GoldenCandidate) -> str:
        return ".txt" if isinstance(self.inputs, TextSpec) else _suffix(candidate.input)


def _try(candidate: GoldenCandidate, source: _Source, picks: list[GoldenPick], refused: list[str]) -> None:
    content = source.content(candidate)
    try:
        read_batch([content], source.inputs)
    except (ImageError, TextError) as error:
        refused.append(f"{candidate.input}: {error}")
        return
    name = f"{len(picks)}{source.suffix(candidate)}"
    picks.append(GoldenPick(name=name, label=candidate.label, content=content))


def _spread(candidates: Sequence[GoldenCandidate]) -> Iterator[GoldenCandidate]:
    """All candidates: first one of each group, then a second one of each group, and so on.

    Groups come evenly spaced when there are more of them than golden examples.
    """
    groups = sorted({candidate.group for candidate in candidates})
    by_group: dict[str, list[GoldenCandidate]] = {group: [] for group in _evenly_first(groups)}
    for candidate in sorted(candidates, key=lambda candidate: candidate.input):
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
