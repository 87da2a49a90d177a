"""Whether the classes found in the data allow the threshold that a spec asks for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graftwork.errors import Problem
from graftwork.near_names import did_you_mean

if TYPE_CHECKING:
    from graftwork.spec.fine_tune_job import FineTuneJobSpec

_TWO = 2


def threshold_problems(spec: FineTuneJobSpec, labels: Sequence[str]) -> list[Problem]:
    """A threshold for other than two classes, or of a class that there is not."""
    threshold = spec.evaluation.threshold
    if threshold is None:
        return []
    if len(labels) != _TWO:
        return [
            Problem(
                where="spec.evaluation.threshold",
                received=f"a threshold with {len(labels)} classes",
                expected="two classes, one of which is answered from a score on",
                fix="Remove it: with more classes the one with the highest score is answered.",
            )
        ]
    if threshold.positive is None or threshold.positive in labels:
        return []
    return [
        Problem(
            where="spec.evaluation.threshold.positive",
            received=f"`{threshold.positive}`",
            expected=f"one of the classes {' and '.join(labels)}",
            fix=did_you_mean(threshold.positive, labels) or "Name one of them.",
        )
    ]
