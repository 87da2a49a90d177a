"""How an endpoint follows moved aliases, and when it goes back to the version before. No I/O here."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from graftwork.spec.amounts import Duration
from graftwork.spec.base import Fraction, Inconsistency, PositiveInt, SpecModel, refuse_if_any


class Rollback(SpecModel):
    """When a version to which an alias has moved is given up for the version before, which stays loaded meanwhile.

    Each replica judges by the requests it answers itself; the first one to give a version up tells the others. The
    version is not tried again until the alias moves again, or the endpoint is started anew.
    """

    max_error_rate: Fraction | None = None
    """Largest share of the new version's requests that may fail (status 500)."""
    max_latency_ms: PositiveInt | None = None
    """Largest 95th percentile of the time the new version's requests may take, in milliseconds."""
    max_disagreement: Fraction | None = None
    """Largest share of examples that the new version may answer differently from the version before, which gets copies
    of them as a `shadow` does: another label, other labels given, or a number more than a tenth of a standard deviation
    away."""
    window: Duration = "10m"
    """How long a new version is watched after the move, or longer until `minRequests` have been seen."""
    min_requests: PositiveInt = 100
    """Requests (for `maxDisagreement`: examples compared) that a judgement needs."""

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        bounds = (self.max_error_rate, self.max_latency_ms, self.max_disagreement)
        refuse_if_any(
            Inconsistency(
                received="no bound",
                expected="at least one of `maxErrorRate`, `maxLatencyMs`, `maxDisagreement`",
                fix="Add a bound, or remove `rollback`.",
                involves=(("maxErrorRate",), ("maxLatencyMs",), ("maxDisagreement",)),
            )
            if all(bound is None for bound in bounds)
            else None
        )
        return self


class Rollout(SpecModel):
    """How a version to which an alias has moved takes over.

    It is loaded beside the old one, golden examples are replayed, requests switch to it, and those in progress finish
    on the old one.
    """

    follow_aliases: Duration | Literal["none"] = "30s"
    """How often to look where the aliases of `models` point. `none`: only at the start and on `graft endpoints
    update`."""
    rollback: Rollback | None = None
    """When to go back to the version before. Default: never."""
