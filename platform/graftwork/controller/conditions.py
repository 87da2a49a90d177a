"""Conditions of an object's status: set, kept and compared as Kubernetes asks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from graftwork.spec.status import Condition


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What an aspect of an object is found to be.

    Attributes:
        type: the aspect.
        holds: whether it is so; None if that cannot be known yet.
        reason: CamelCase word.
        message: a sentence.
    """

    type: str
    holds: bool | None
    reason: str
    message: str = ""


def time_text(moment: datetime) -> str:
    """A moment as Kubernetes writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment_of(text: str) -> datetime:
    """The moment that Kubernetes wrote."""
    return datetime.fromisoformat(text)


def holds(status: Mapping[str, Any] | None, type_: str) -> bool:
    """Whether a status as the cluster keeps it, ours or another's, says that a condition is true."""
    conditions = (status or {}).get("conditions") or ()
    return any(each["type"] == type_ and each["status"] == "True" for each in conditions)


def conditions_after(
    before: Iterable[Condition], findings: Iterable[Finding], *, now: datetime, generation: int
) -> list[Condition]:
    """All conditions after some were looked at; a time changes only with its status.

    Args:
        before: as they stand.
        findings: what is found now; aspects that are not named stay as they were.
        now: the time.
        generation: of the object that was looked at.
    """
    standing = {condition.type: condition for condition in before}
    for finding in findings:
        status: Literal["True", "False", "Unknown"] = (
            "Unknown" if finding.holds is None else "True" if finding.holds else "False"
        )
        old = standing.get(finding.type)
        standing[finding.type] = Condition(
            type=finding.type,
            status=status,
            reason=finding.reason,
            message=finding.message,
            last_transition_time=(
                old.last_transition_time if old is not None and old.status == status else time_text(now)
            ),
            observed_generation=generation,
        )
    return [standing[type_] for type_ in sorted(standing)]


def plain(status: Any) -> dict[str, Any]:
    """A status model as it is written to the cluster."""
    content: Mapping[str, Any] = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    # Server-side apply makes an empty map of one whose entries went, and the API server takes that for null.
    return {key: value for key, value in content.items() if value not in ({}, [])}
