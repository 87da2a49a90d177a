"""Whether a version that has just taken over is good enough to stay: from evidence to a verdict. Pure; no clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Literal

Bound = Literal["error-rate", "latency", "disagreement"]

# Answers whose times the 95th percentile is taken of: the newest ones.
_MAX_TIMES: Final = 2000
_PERCENTILE: Final = 0.95


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a new version has to keep to; None where there is no bound.

    Attributes:
        max_error_rate: share of requests that may fail.
        max_latency_s: 95th percentile of the time to answer.
        max_disagreement: share of examples it may answer differently from the version before.
        window_s: how long it is watched.
        min_requests: requests, or examples compared, that a judgement needs.
    """

    max_error_rate: float | None
    max_latency_s: float | None
    max_disagreement: float | None
    window_s: float
    min_requests: int


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What has been seen of a version since it took over.

    Attributes:
        age_s: time since then.
        requests: answered or failed.
        failures: of these.
        latency_s: 95th percentile of the time to answer; None before the first answer.
        compared: examples that the version before answered, too.
        disagreements: of these, those with another answer.
    """

    age_s: float
    requests: int
    failures: int
    latency_s: float | None
    compared: int
    disagreements: int


@dataclass(frozen=True, kw_only=True)
class GiveUp:
    """Go back to the version before.

    Attributes:
        bound: which one was crossed.
        why: in words, with the figures.
    """

    bound: Bound
    why: str


@dataclass(frozen=True, kw_only=True)
class Stay:
    """The version stays; the one before may go."""


@dataclass(frozen=True, kw_only=True)
class WatchOn:
    """Nothing to say yet."""


def judge(evidence: Evidence, bounds: Bounds) -> GiveUp | Stay | WatchOn:
    """What the evidence says."""
    has_requests = evidence.requests >= bounds.min_requests
    has_compared = evidence.compared >= bounds.min_requests
    rate = evidence.failures / max(1, evidence.requests)
    if has_requests and bounds.max_error_rate is not None and rate > bounds.max_error_rate:
        return GiveUp(
            bound="error-rate",
            why=f"{rate:.1%} of {evidence.requests} requests failed, at most {bounds.max_error_rate:.1%} may",
        )
    latency_s = evidence.latency_s or 0.0
    if has_requests and bounds.max_latency_s is not None and latency_s > bounds.max_latency_s:
        return GiveUp(
            bound="latency",
            why=f"95 % of {evidence.requests} requests took {1000 * latency_s:.0f} ms or less, "
            f"at most {1000 * bounds.max_latency_s:.0f} ms are allowed",
        )
    differing = evidence.disagreements / max(1, evidence.compared)
    if has_compared and bounds.max_disagreement is not None and differing > bounds.max_disagreement:
        return GiveUp(
            bound="disagreement",
            why=f"{differing:.1%} of {evidence.compared} examples were answered differently, "
            f"at most {bounds.max_disagreement:.1%} may be",
        )
    is_seen = has_requests and (bounds.max_disagreement is None or has_compared)
    return Stay() if is_seen and evidence.age_s >= bounds.window_s else WatchOn()


class Watch:
    """Collects the evidence on one version.

    Args:
        started_s: when it took over, on a clock that only goes forward.
    """

    def __init__(self, *, started_s: float) -> None:
        self._started_s = started_s
        self._requests = self._failures = self._compared = self._disagreements = 0
        self._times_s: deque[float] = deque(maxlen=_MAX_TIMES)

    def answered(self, seconds: float) -> None:
        """It answered a request in this time."""
        self._requests += 1
        self._times_s.append(seconds)

    def failed(self) -> None:
        """It failed to answer a request."""
        self._requests += 1
        self._failures += 1

    def compared(self, examples: int, disagreements: int) -> None:
        """So many examples were compared with the version before, and so many of them answered differently."""
        self._compared += examples
        self._disagreements += disagreements

    def evidence(self, now_s: float) -> Evidence:
        """All of it, now."""
        times = sorted(self._times_s)
        return Evidence(
            age_s=now_s - self._started_s,
            requests=self._requests,
            failures=self._failures,
            latency_s=times[min(len(times) - 1, int(len(times) * _PERCENTILE))] if times else None,
            compared=self._compared,
            disagreements=self._disagreements,
        )
