"""From the spec's data section to a checked index: lists, reads, splits and judges the data before anything is spent.

The driver calls `scan_data` while it plans; workers only ever see the `DatasetIndex` that comes out of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from graftwork.errors import Problem, SpecError
from graftwork.progress import Reporter
from graftwork.spec.fine_tune_job import Data
from graftwork.spec.tasks import InputKind, TargetKind
from graftwork_jobs.data import audit
from graftwork_jobs.data.audit import Leak, Row
from graftwork_jobs.data.fingerprint import Fingerprint, fingerprint_all, fingerprint_texts
from graftwork_jobs.data.index import DatasetIndex, Split
from graftwork_jobs.data.sources import NOUNS, Example, Listing, Source, list_source
from graftwork_jobs.data.splits import smallest_class_size, split_by_fraction
from graftwork_jobs.data.target_cells import Found, TargetCells, target_cells
from graftwork_jobs.data.weights import weight_problems, weights_of

_TRAIN = "train"
_TEST = "test"
_PARTS = ("validation", _TEST)

Examples: TypeAlias = "dict[str, list[Example]]"
"""Readable examples by split or source name."""


@dataclass(frozen=True, kw_only=True)
class DataScan:
    """What the scan found.

    Attributes:
        index: every example that will be used.
        counts: examples by split and class.
        unreadable: examples and rows left out, each with the reason.
        leaks: identical examples in data to learn from and data to test with.
        warnings: what a user should know, in sentences.
        imbalance: examples of the largest training class for each of the smallest.
    """

    index: DatasetIndex
    counts: dict[str, dict[str, int]]
    unreadable: tuple[tuple[str, str], ...]
    leaks: tuple[Leak, ...]
    warnings: tuple[str, ...]
    imbalance: float


def scan_data(
    data: Data,
    *,
    what: InputKind = "image",
    target: TargetKind = "classes",
    base_dir: Path,
    cache_dir: Path,
    seed: int,
    reporter: Reporter,
    slices: Sequence[str] = (),
) -> DataScan:
    """Find, read, check and split all examples of a job.

    Args:
        data: the spec's data section.
        what: pictures or texts.
        base_dir: where relative paths start.
        cache_dir: where copies of remote files and the memory of earlier scans are kept.
        seed: the job's seed; decides which examples a fraction takes.
        reporter: told how far it is.
        target: what is predicted.
        slices: columns by which the test set is cut.

    Raises:
        SpecError: the data cannot be used; all problems found are told together.
        PermanentError: a remote store stopped answering.
    """
    cells = target_cells(target, data)
    listings = _list_all(data, what, cells, base_dir, cache_dir, tuple(slices))
    problems = [problem for listing in listings.values() for problem in audit.listing_problems(listing)]
    inputs = [example.input for listing in listings.values() for example in listing.examples]
    if what == "text":
        prints = fingerprint_texts(inputs)
    else:
        prints = fingerprint_all(inputs, cache_dir=cache_dir, reporter=reporter)
    usable: Examples = {}
    unreadable: list[tuple[str, str]] = []
    for name, listing in listings.items():
        usable[name], bad = _sift(listing.examples, prints)
        unreadable.extend(bad)
        if (data.on_incomplete_row if what == "text" else data.on_bad_image) == "fail":
            problems.extend(audit.unreadable_problems(listing.where, bad, what))
    problems.extend(_judge(data, what, cells, listings, usable, prints))
    problems.extend(_nothing_readable(what, listings, usable))
    if problems:
        raise SpecError(problems)
    return _assemble(data, what, cells, listings, usable, prints, tuple(unreadable), seed, slices)


def _list_all(
    data: Data, what: InputKind, cells: TargetCells, base_dir: Path, cache_dir: Path, slices: tuple[str, ...]
) -> dict[str, Listing]:
    """Listings of all sources that name data of their own, `train` first."""
    sources: dict[str, tuple[str, Source]] = {_TRAIN: ("spec.data.train", data.train)}
    for name in _PARTS:
        part = getattr(data, name)
        if part.uri is not None:
            sources[name] = (f"spec.data.{name}", part)
    sliced = _TEST if _TEST in sources else _TRAIN
    for number, extra in enumerate(data.extra_tests):
        sources[extra.name] = (f"spec.data.extraTests[{number}]", extra)
    return {
        name: list_source(
            source,
            what,
            where=where,
            base_dir=base_dir,
            cache_dir=cache_dir,
            columns=replace(
                cells.columns(source, where),
                weight=data.weight_column if name == _TRAIN else None,
                slices=slices if name == sliced else (),
            ),
            skip_incomplete=data.on_incomplete_row == "skip",
        )
        for name, (where, source) in sources.items()
    }


def _sift(
    examples: Sequence[Example], prints: Mapping[str, Fingerprint]
) -> tuple[list[Example], list[tuple[str, str]]]:
    """Examples that can be read, and places of the others with the reason (each once)."""
    good = [example for example in examples if prints[example.input].reason is None]
    bad = {example.place: reason for example in examples if (reason := prints[example.input].reason) is not None}
    return good, list(bad.items())


def _judge(
    data: Data,
    what: InputKind,
    cells: TargetCells,
    listings: Mapping[str, Listing],
    usable: Examples,
    prints: Mapping[str, Fingerprint],
) -> list[Problem]:
    """Problems with what is to be predicted, after unreadable examples were taken out."""
    train, *others = (
        Found(
            where=listing.where,
            all=listing.examples,
            usable=usable[name],
            digests=[prints[example.input].digest for example in usable[name]],
        )
        for name, listing in listings.items()
    )
    return [
        *weight_problems(train.where, data.weight_column, train.all),
        *cells.problems(train, others, needed=smallest_class_size(_fractions(data)), noun=NOUNS[what]),
    ]


def _nothing_readable(what: InputKind, listings: Mapping[str, Listing], usable: Examples) -> list[Problem]:
    return [
        Problem(
            where=f"{listing.where}.uri",
            received=f"no readable {NOUNS[what]} among {len(listing.examples)}",
            expected="at least one",
            fix="Check the files.",
        )
        for name, listing in listings.items()
        if name != _TRAIN and listing.examples and not usable[name]
    ]


def _fractions(data: Data) -> dict[str, float]:
    parts = {name: getattr(data, name).fraction for name in _PARTS}
    return {name: fraction for name, fraction in parts.items() if fraction is not None}


def _assemble(
    data: Data,
    what: InputKind,
    cells: TargetCells,
    listings: Mapping[str, Listing],
    usable: Examples,
    prints: Mapping[str, Fingerprint],
    unreadable: tuple[tuple[str, str], ...],
    seed: int,
    slices: Sequence[str],
) -> DataScan:
    labels = cells.names(listings[_TRAIN].examples)
    parts = _divide(data, cells, usable, prints, seed)
    splits = {
        name: Split(
            name=name,
            inputs=tuple(example.input for example in examples),
            targets=cells.encode(examples, labels),
            digests=tuple(prints[example.input].digest for example in examples),
            weights=weights_of(examples) if name == _TRAIN else None,
            slices=_columns(examples, slices) if name == _TEST else {},
        )
        for name, examples in parts.items()
    }
    rows = [
        Row(split=name, place=example.place, label=example.label, digest=prints[example.input].digest)
        for name, examples in parts.items()
        for example in examples
    ]
    counts = {name: dict(cells.counts(split.targets, labels)) for name, split in splits.items()}
    leaks = audit.find_leaks(rows)
    incomplete = [row for listing in listings.values() for row in listing.incomplete]
    weighted = splits[_TRAIN].weights is not None
    warnings = [
        *_ignored_warnings(listings),
        *audit.alike_warnings(listings.values()),
        *audit.parts_warnings(listings.values()),
        *audit.left_out_warnings(len(unreadable), what),
        *audit.incomplete_warnings(len(incomplete)),
        *audit.leak_warnings(leaks, what),
        *audit.duplicate_warnings(rows, what),
        *audit.alike_name_warnings(labels),
        *(audit.imbalance_warnings(counts[_TRAIN], what, weighted=weighted) if cells.balance else []),
        *(text for name in counts for text in audit.absent_class_warnings(name, counts[name], what)),
    ]
    return DataScan(
        index=DatasetIndex(labels=labels, splits=splits),
        counts=counts,
        unreadable=(*unreadable, *incomplete),
        leaks=leaks,
        warnings=tuple(warnings),
        imbalance=audit.imbalance(counts[_TRAIN]) if cells.balance else 1.0,
    )


def _columns(examples: Sequence[Example], slices: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Values of each column by which examples are cut."""
    return {name: tuple(example.slices[place] for example in examples) for place, name in enumerate(slices)}


def _divide(data: Data, cells: TargetCells, usable: Examples, prints: Mapping[str, Fingerprint], seed: int) -> Examples:
    """Examples by split, in the order train, validation, test, further test sets."""
    pool = usable[_TRAIN]
    drawn = split_by_fraction(
        cells.groups(pool),
        [prints[example.input].digest for example in pool],
        _fractions(data),
        seed=seed,
    )
    parts = {name: [pool[row] for row in rows] for name, rows in drawn.items()}
    return {
        name: parts[name] if name in parts else usable[name]
        for name in (_TRAIN, *_PARTS, *(extra.name for extra in data.extra_tests))
    }


def _ignored_warnings(listings: Mapping[str, Listing]) -> list[str]:
    return [
        f"{listing.where}: {len(listing.ignored)} files ignored, because they are no pictures or lie outside the class "
        f"folders: {audit.shorten(listing.ignored)}."
        for listing in listings.values()
        if listing.ignored
    ]
