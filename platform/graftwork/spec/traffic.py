"""Which entries of an endpoint's `models` answer to one name, and whether their shares of its requests add up. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from graftwork.spec.base import Inconsistency
from graftwork.spec.references import AliasReference, PathReference, VersionReference, parse_reference

WHOLE_PERCENT = 100


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one entry of `models` says about requests.

    Attributes:
        name: that requests use.
        reference: what it serves.
        traffic: percent of the name's requests it answers; None where the entry does not say.
        shadow: share of the name's requests of which it gets a copy; None for an entry that answers.
    """

    name: str
    reference: str
    traffic: int | None
    shadow: float | None


def name_in_requests(reference: str) -> str:
    """The name that requests use for a model whose entry gives none: the registered one, or the bundle directory's."""
    match parse_reference(reference):
        case PathReference(path=path):
            return name_of_bundle(PurePath(path))
        case AliasReference(name=name) | VersionReference(name=name):
            return name


def name_of_bundle(path: PurePath) -> str:
    """What a bundle that is named by its path is called: a run's `bundle` folder after the run, others as they are."""
    return path.parent.name or path.name if path.name == "bundle" else path.name


def share_problems(shares: Sequence[Share]) -> list[Inconsistency]:
    """What is wrong with entries that share a name, each at the entry to change."""
    found: list[Inconsistency] = []
    for name in dict.fromkeys(share.name for share in shares):
        members = [(index, share) for index, share in enumerate(shares) if share.name == name]
        found += _problems_of_name(name, members)
    return found


def _problems_of_name(name: str, members: list[tuple[int, Share]]) -> list[Inconsistency]:
    references = [share.reference for _, share in members]
    twice = [
        Inconsistency(
            at=("models", index),
            received=f"`{share.reference}` under the name `{name}`, which an earlier entry has",
            expected="another model, or the same one under another `name`",
            fix="Add a `name` of its own, or remove the entry.",
        )
        for position, (index, share) in enumerate(members)
        if share.reference in references[:position]
    ]
    answering = [(index, share) for index, share in members if share.shadow is None]
    last = members[-1][0]
    if not answering:
        return [
            *twice,
            Inconsistency(
                at=("models", last, "shadow"),
                received=f"nothing but shadows under the name `{name}`",
                expected="an entry of that name that answers",
                fix=f"Add an entry without `shadow`, with `name: {name}` if need be.",
            ),
        ]
    return [*twice, *_traffic_problems(name, answering)]


def _traffic_problems(name: str, answering: list[tuple[int, Share]]) -> list[Inconsistency]:
    if len(answering) == 1 and answering[0][1].traffic is None:
        return []
    missing = [
        Inconsistency(
            at=("models", index),
            received=f"an entry without `traffic` beside others of the name `{name}`",
            expected=f"`traffic` in every entry of that name, {WHOLE_PERCENT} in all",
            fix="Add `traffic`, or a `name` of its own, or make it a `shadow`.",
        )
        for index, share in answering
        if share.traffic is None
    ]
    total = sum(share.traffic or 0 for _, share in answering)
    if missing or total == WHOLE_PERCENT:
        return missing
    index = answering[-1][0]
    return [
        Inconsistency(
            at=("models", index, "traffic"),
            received=f"{total} percent in all for the name `{name}`",
            expected=f"{WHOLE_PERCENT}",
            fix="Change the `traffic` of its entries until it is.",
            involves=tuple(("models", other, "traffic") for other, _ in answering[:-1]),
        )
    ]
