"""Which numbers a regression has not learnt, as its test set shows. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from graftwork_jobs.evaluation.findings import Finding

if TYPE_CHECKING:
    from graftwork_jobs.evaluation.diagnosis import DiagnosisInput
    from graftwork_jobs.evaluation.number_metrics import NumberMetrics

_NAMED = 5


def mean_findings(given: DiagnosisInput) -> list[Finding]:
    """Numbers that always giving their mean would predict as well, and a model that may be no better than that."""
    found = (_not_learnt(given.test), _perhaps_the_mean(given))
    return [finding for finding in found if finding is not None]


def _not_learnt(test: NumberMetrics) -> Finding | None:
    missed = sorted((row.r2, row.name) for row in test.rows if row.r2 is not None and row.r2 <= 0)
    if not missed:
        return None
    names = [name for _, name in missed]
    shown = ", ".join(f"{r2:.3f} for {name}" for r2, name in missed[:_NAMED])
    more = f" and {len(missed) - _NAMED} more" if missed[_NAMED:] else ""
    return Finding(
        code="number_not_learned",
        severity="warning",
        title=f"Not learned: {', '.join(names[:_NAMED])}{more}",
        evidence=f"On the {test.examples:,} test examples R² is {shown}{more}: always giving the mean does as well.",
        advice=(
            "a look at these columns of data.train: do the examples show what they say, and are they right?",
            "data.targetColumns without them, or more training examples",
        ),
    )


def _perhaps_the_mean(given: DiagnosisInput) -> Finding | None:
    low, high = given.intervals.get("test", {}).get("r2", (math.inf, math.inf))
    if low > 0 or not any(row.r2 is not None and row.r2 > 0 for row in given.test.rows):
        # Where no number was learnt, each of them is named.
        return None
    return Finding(
        code="perhaps_the_mean",
        severity="warning",
        title="Perhaps no better than the mean",
        evidence=f"R² is {given.test.summary['r2']:.3f} on {given.test.examples:,} test examples, with a 95 % interval "
        f"from {low:.3f} to {high:.3f}: the model may be no better than always giving the mean.",
        advice=("more test examples (data.test), which narrow the interval", "more training examples (data.train)"),
    )
