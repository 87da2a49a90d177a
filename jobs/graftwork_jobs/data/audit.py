"""Judges labelled, fingerprinted examples: what makes training on them impossible, and what a user should know. Pure.

Every function takes plain values and gives back problems or sentences; `graftwork_jobs.data.scan` gathers them.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from graftwork.errors import Problem
from graftwork.near_names import did_you_mean
from graftwork.spec.tasks import InputKind
from graftwork_jobs.data.fingerprint import NO_SUCH_FILE
from graftwork_jobs.data.sources import NOUNS, Listing

SHOWN = 20
_EXAMPLES = 3
_LEARNT = frozenset({"train", "validation"})
# From here on the rarest class is learnt noticeably worse unless it is weighed up; a convention, not a law.
IMBALANCE = 5.0
# So many different numbers are hardly the names of classes.
_MANY_CLASSES = 20
_NUMBER = re.compile(r"-?[0-9]+([.,][0-9]+)?$")
_BETWEEN_WORDS = re.compile(r"(?<=\w)[\s_-]+(?=\w)")


@dataclass(frozen=True, kw_only=True)
class Leak:
    """An example that is in data to learn from and in data to test with.

    Attributes:
        digest: SHA-256 of its content.
        places: all places with this content.
        splits: the splits they are in.
    """

    digest: str
    places: tuple[str, ...]
    splits: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """An example as it stands in a split."""

    split: str
    place: str
    label: str
    digest: str


def listing_problems(listing: Listing) -> list[Problem]:
    """What is wrong with a source before any picture was opened."""
    problems = list(listing.problems)
    if listing.empty_classes and listing.examples:
        problems.append(
            Problem(
                where=f"{listing.where}.uri",
                received=f"no picture for class {shorten(listing.empty_classes)}",
                expected="at least one picture in every class folder",
                fix="Add pictures or delete the empty folders.",
            )
        )
    return problems


def alike_warnings(listings: Iterable[Listing]) -> list[str]:
    """Sources whose class folders all hold the same sub-folders, which may be the classes."""
    return [
        f"{listing.where}: every class folder holds the same sub-folders ({shorten(listing.alike)}). The classes are "
        "the folders right below; if these are meant, name the folder above them instead."
        for listing in listings
        if listing.alike
    ]


def parts_warnings(listings: Iterable[Listing]) -> list[str]:
    """Tables that say which part of a data set a row belongs to, where the job takes all rows."""
    return [
        f"{listing.where}: the column {column!r} of the table says which part of the data a row belongs to "
        f"({shorten(values)}), and all rows are taken. To go by it: `rows: {{column: {column}, values: "
        f"[{next((value for value in values if value.lower().startswith('train')), values[0])}]}}` under data.train, "
        "and the like under data.validation and data.test."
        for listing in listings
        for column, values in listing.parts
    ]


def unreadable_problems(where: str, unreadable: Sequence[tuple[str, str]], what: InputKind) -> list[Problem]:
    """Examples that cannot be read: the first ones each, then how many more."""
    noun = NOUNS[what]
    field = "onIncompleteRow" if what == "text" else "onBadImage"
    skip = f"or set spec.data.{field}: skip."
    problems = [
        Problem(
            where=f"{where}.uri",
            received=f"{uri}: {reason}",
            expected=f"a {noun} that can be read",
            fix=f"{_remedy(uri, reason)}, {skip}",
        )
        for uri, reason in unreadable[:SHOWN]
    ]
    if more := unreadable[SHOWN:]:
        are_missing = all(reason == NO_SUCH_FILE for _, reason in more)
        problems.append(
            Problem(
                where=f"{where}.uri",
                received=f"{len(more)} more {noun}s that cannot be read ({len(unreadable)} in all)",
                expected=f"{noun}s that can be read",
                fix=f"{'Correct their paths' if are_missing else 'Repair them or delete them'}, {skip}",
            )
        )
    return problems


def _remedy(uri: str, reason: str) -> str:
    """What to do about an example that cannot be read; what is not there can be neither repaired nor deleted."""
    if reason != NO_SUCH_FILE:
        return "Repair it or delete it"
    return "Correct the path" + (" (tables want forward slashes: / in place of \\)" if "\\" in uri else "")


def left_out_warnings(unreadable: int, what: InputKind) -> list[str]:
    """How many examples are left out because they cannot be read."""
    if not unreadable:
        return []
    return [f"{_count(unreadable, NOUNS[what])} cannot be read and {'is' if unreadable == 1 else 'are'} left out."]


def incomplete_warnings(rows: int) -> list[str]:
    """How many rows are left out because they lack something."""
    return (
        [f"{_count(rows, 'row')} {'lacks a value and is' if rows == 1 else 'lack values and are'} left out."]
        if rows
        else []
    )


def class_problems(where: str, members: Mapping[str, Collection[str]], needed: int, noun: str) -> list[Problem]:
    """Too few classes, or classes with too few examples to be split.

    Args:
        where: YAML path of the training source.
        members: digests of each class of the training source.
        needed: different examples that every class must have.
        noun: what an example is called.
    """
    problems = []
    if len(members) < 2:  # noqa: PLR2004 - fewer than two classes is the condition itself
        problems.append(
            Problem(
                where=f"{where}.uri",
                received=f"a single class, {next(iter(members))}" if members else "no class",
                expected="at least two classes",
                fix=f"Add {noun}s of what is to be told apart from it.",
            )
        )
    few = {label: len(set(digests)) for label, digests in members.items() if len(set(digests)) < needed}
    if few:
        problems.append(
            Problem(
                where=f"{where}.uri",
                received=f"too few different {noun}s of class {shorten([f'{k} ({n})' for k, n in few.items()])}",
                expected=f"at least {needed} of every class, so that each split by fraction gets one",
                fix=f"{_regression_hint(members, noun)}Add {noun}s, leave the classes out, or give validation and test "
                "data of their own (uri).",
            )
        )
    return problems


def _regression_hint(labels: Collection[str], noun: str) -> str:
    """What to say where "classes" seem to be amounts."""
    if len(labels) < _MANY_CLASSES or not all(map(_NUMBER.match, labels)):
        return ""
    task = "image" if noun == NOUNS["image"] else noun
    return f"To predict a number, use `task: {task}-regression` and name the column in spec.data.targetColumns. "


def unknown_label_problems(where: str, labels: Mapping[str, int], known: Collection[str], noun: str) -> list[Problem]:
    """Classes of other data that training has never seen.

    Args:
        where: YAML path of the other source.
        labels: examples of each class there.
        known: class names of the training data.
        noun: what an example is called.
    """
    problems = []
    for label, count in sorted(labels.items()):
        if label not in known:
            problems.append(
                Problem(
                    where=f"{where}.uri",
                    received=f"class {label} ({count} {noun}s), which the training data does not have",
                    expected=f"only classes of the training data: {shorten(sorted(known))}",
                    fix=did_you_mean(label, sorted(known)) or "Rename or remove it, or add it to the training data.",
                )
            )
    return problems[:SHOWN]


def find_leaks(rows: Iterable[Row]) -> tuple[Leak, ...]:
    """Identical files in training or validation data and in another split."""
    leaks = []
    for digest, same in sorted(_by_digest(rows).items()):
        splits = tuple(dict.fromkeys(row.split for row in same))
        if len(splits) > 1 and not _LEARNT.isdisjoint(splits):
            leaks.append(Leak(digest=digest, places=tuple(row.place for row in same), splits=splits))
    return tuple(leaks)


def leaked_counts(leaks: Iterable[Leak], digests: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How many examples of each test set are in the training or validation data, too; test sets without any left out.

    Args:
        leaks: of the data.
        digests: of the examples, by split.
    """
    shared = {leak.digest for leak in leaks}
    counts = {name: sum(digest in shared for digest in found) for name, found in digests.items() if name not in _LEARNT}
    return {name: count for name, count in counts.items() if count}


def leak_warnings(leaks: Sequence[Leak], what: InputKind) -> list[str]:
    """One sentence for each pair of splits that share examples."""
    shared: dict[tuple[str, ...], list[Leak]] = defaultdict(list)
    for leak in leaks:
        shared[leak.splits].append(leak)
    return [
        f"{_count(len(found), NOUNS[what])} identical in {' and '.join(splits)}: metrics will look better than they "
        f"are. Such as {'; '.join(' = '.join(leak.places[:4]) for leak in found[:_EXAMPLES])}."
        for splits, found in sorted(shared.items())
    ]


def duplicate_warnings(rows: Sequence[Row], what: InputKind) -> list[str]:
    """Examples that occur more than once in the training data, and examples with more than one label anywhere."""
    groups = _by_digest(rows)
    warnings = []
    conflicts = [same for same in groups.values() if len({row.label for row in same}) > 1]
    if conflicts:
        shown = "; ".join(
            " = ".join(f"{row.place} ({row.label})" for row in same[:4]) for same in conflicts[:_EXAMPLES]
        )
        warnings.append(f"{_count(len(conflicts), NOUNS[what])} with more than one label. Such as {shown}.")
    extra = sum(number - 1 for number in Counter(row.digest for row in rows if row.split == "train").values())
    if extra:
        warnings.append(
            f"{_count(extra, NOUNS[what])} in the training data repeat{'s' if extra == 1 else ''} another one "
            f"exactly and count{'s' if extra == 1 else ''} twice."
        )
    return warnings


def imbalance(counts: Mapping[str, int]) -> float:
    """Examples of the largest class for each of the smallest."""
    return max(counts.values()) / max(1, min(counts.values()))


def imbalance_warnings(counts: Mapping[str, int], what: InputKind, *, weighted: bool) -> list[str]:
    """Whether one class outweighs another so much that it hurts.

    Args:
        counts: training examples of each class.
        what: pictures or texts.
        weighted: whether examples have weights, which may make up for it.
    """
    ratio = imbalance(counts)
    if ratio < IMBALANCE:
        return []
    advice = "Look at" if weighted else "Consider spec.training.classWeights: balanced, and look at"
    largest, smallest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    return [
        (
            f"Class imbalance: {counts[largest]} {NOUNS[what]}s of {largest} but {counts[smallest]} of {smallest} "
            f"({ratio:.0f} to 1). {advice} the per-class metrics."
        )
    ]


def alike_name_warnings(names: Sequence[str]) -> list[str]:
    """Names that are told apart by upper and lower case, spaces, hyphens or underscores alone: often one, misspelt."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[_BETWEEN_WORDS.sub("", name.casefold().strip())].append(name)
    return [
        f"{' and '.join(map(repr, spellings))} are taken for different ones. If they are not, write them alike."
        for spellings in alike.values()
        if len(spellings) > 1
    ]


def absent_class_warnings(split: str, counts: Mapping[str, int], what: InputKind) -> list[str]:
    """Classes that a split has no example of."""
    absent = [label for label, count in counts.items() if count == 0]
    return (
        [f"No {split} {NOUNS[what]} of class {shorten(absent)}: nothing will be known about it there."]
        if absent
        else []
    )


def shorten(names: Sequence[str]) -> str:
    """A list for a sentence: the first ones, then how many more."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _by_digest(rows: Iterable[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.digest].append(row)
    return groups


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
