"""From a run's findings to a list of changes that together make a valid spec. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork.spec.search_space import Place, place_of
from graftwork_jobs.evaluation.findings import SEVERITIES
from graftwork_jobs.suggest.remedies import Remedy, remedies

# More at once would not tell which of them helped.
_MOST_PER_FINDING = 2
_FOUND = "the best trial of the search had it"


@dataclass(frozen=True, kw_only=True)
class Change:
    """One field to change.

    Attributes:
        path: below `spec`.
        before: its value now; None where the spec says nothing.
        after: its value then.
        reason: why, in one sentence.
        finding: code of the finding it answers.
    """

    path: str
    before: Any
    after: Any
    reason: str
    finding: str

    def as_dict(self) -> dict[str, Any]:
        """The change as plain JSON-ready values."""
        return asdict(self)


def suggest(
    findings: Sequence[Mapping[str, Any]], content: Mapping[str, Any], *, found: Mapping[str, Any] | None = None
) -> tuple[list[Change], dict[str, Any]]:
    """Choose changes against findings, gravest first; no two touch the same field, and each leaves the spec valid.

    Args:
        findings: as a report stores them: `code`, `severity`, `phase`, ...
        content: the whole FineTuneJob as plain values.
        found: what a search of the run found to be best, by path; comes first.

    Returns:
        The changes in the order of their weight, and the changed FineTuneJob.
    """
    spec = FineTuneJob.model_validate(content).spec
    changed: dict[str, Any] = dict(content)
    changes: list[Change] = []
    touched: list[Place] = []
    best = [Remedy(path=path, value=value, reason=_FOUND) for path, value in (found or {}).items()]
    asked = [
        (finding["code"], remedies(finding["code"], finding.get("phase"), spec), _MOST_PER_FINDING)
        for finding in sorted(findings, key=lambda each: SEVERITIES.index(each["severity"]))
    ]
    for code, proposed, most in [("search", best, len(best)), *asked]:
        taken = 0
        for remedy in proposed:
            place = place_of(changed["spec"], remedy.path)
            if taken == most or any(_overlap(place, other) for other in touched):
                continue
            before = value_at(changed["spec"], place)
            attempt = with_remedy(changed, remedy)
            if before == remedy.value or attempt is None:
                continue
            changed, taken = attempt, taken + 1
            touched.append(place)
            changes.append(
                Change(path=remedy.path, before=before, after=remedy.value, reason=remedy.reason, finding=code)
            )
    return changes, changed


def with_remedy(content: Mapping[str, Any], remedy: Remedy) -> dict[str, Any] | None:
    """The job with a remedy applied; None if it would not be valid."""
    from graftwork.spec.search_space import with_values

    changed = {**content, "spec": with_values(content["spec"], {remedy.path: remedy.value})}
    try:
        FineTuneJob.model_validate(changed, strict=True, by_alias=True, by_name=False)
    except ValidationError:
        return None
    return changed


def value_at(content: Any, place: Place) -> Any:
    """What stands at a place; None where nothing does."""
    for step in place:
        match content, step:
            case dict(), str():
                content = content.get(step)
            case list(), int() if step < len(content):
                content = content[step]
            case _:
                return None
    return content


def _overlap(one: Place, other: Place) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]
