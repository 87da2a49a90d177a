"""What a diagnosis consists of: findings in plain words, each with evidence and what to try. Shapes of data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["problem", "warning", "note", "good"]

SEVERITIES: tuple[Severity, ...] = ("problem", "warning", "note", "good")
"""Gravest first."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing the run shows.

    Attributes:
        code: stable name for programs, such as `overfitting`.
        severity: `problem`: the model is no use; `warning`: it can be better; `note`: worth knowing; `good`: as it
            should be.
        title: what was found, in a few words.
        evidence: the figures that show it, one or two sentences.
        advice: what to try, each naming the spec fields to change.
        phase: the phase it was found in, if in one.
    """

    code: str
    severity: Severity
    title: str
    evidence: str
    advice: tuple[str, ...] = ()
    phase: str | None = None

    def __str__(self) -> str:
        text = f"{self.title}: {self.evidence}"
        return f"{text} Try: {'; '.join(self.advice)}." if self.advice else text

    def as_dict(self) -> dict[str, str | list[str] | None]:
        """The finding as plain JSON-ready values."""
        return {
            "code": self.code,
            "severity": self.severity,
            "title": self.title,
            "evidence": self.evidence,
            "advice": list(self.advice),
            "phase": self.phase,
        }
