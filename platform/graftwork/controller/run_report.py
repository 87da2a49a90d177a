"""What a driver in a pod reports about its run, in a ConfigMap of its own. Pure.

Written by `graftwork_jobs.cluster_run`, read by the operator.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from graftwork.controller.conditions import Finding
from graftwork.spec.status import StatusModel


class RunReport(StatusModel):
    """How far a run is, or what it came to."""

    outcome: Literal["running", "succeeded", "failed"] = "running"
    """`failed` is final: another try would end the same way."""
    reason: str | None = None
    """Why it failed, in one CamelCase word."""
    message: str = ""
    """Where it stands, in one sentence."""
    stage: str | None = None
    """What it is at, as in `graft jobs`."""
    progress: str | None = None
    """How far, such as `head 3/10`."""
    run_id: str | None = None
    """The run."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Of the test set."""
    model: str | None = None
    """Registered model."""
    version: int | None = None
    """Its version."""

    def sentence(self) -> str:
        """Where it stands."""
        return self.message or "Training."

    def status_fields(self) -> dict[str, Any]:
        """Fields of the job's status that come from here."""
        registered = None if self.model is None or self.version is None else f"{self.model}/{self.version}"
        accuracy = self.metrics.get("accuracy")
        return {
            "progress": self.progress,
            "run_id": self.run_id,
            "metrics": dict(self.metrics),
            "accuracy": None if accuracy is None else f"{accuracy:.4f}",
            "model": registered,
        }

    def findings(self) -> list[Finding]:
        """Conditions that follow from it."""
        found: list[Finding] = []
        if self.metrics:
            found.append(Finding(type="Evaluated", holds=True, reason="Evaluated"))
        if self.reason == "GateRefused":
            found.append(Finding(type="GatePassed", holds=False, reason="GateRefused", message=self.message))
        elif self.outcome == "succeeded":
            found.append(Finding(type="GatePassed", holds=True, reason="GatePassed"))
        if self.model is not None and self.version is not None:
            found.append(Finding(type="Registered", holds=True, reason="Registered"))
        return found
