"""How many replicas an endpoint wants, and why: the policy that Ray Serve's controller asks, some times a second.

Delays and bounds are Serve's; the policy says what the load asks for, and publishes what became of it.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Reason = Literal["busy", "quiet", "idle", "wake"]
"""Why the number of replicas changes: more requests in progress than the target, fewer, none at all, or the first one
that comes to no replica."""
Held = Literal["settled", "at-maximum", "at-minimum", "waiting-to-grow", "waiting-to-shrink"]
"""Why it does not change: it is right, a bound forbids what the load asks for, or the delay is not over."""
FILE = "scaling.prom"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the load asks for.

    Attributes:
        replicas: within the bounds.
        held: why there are not as many, or not more or fewer.
    """

    replicas: int
    held: Held


def wanted_replicas(*, ongoing: float, target: float, least: int, most: int, now: int) -> Wanted:
    """How many replicas some load asks for.

    Args:
        ongoing: requests in progress, those that wait included.
        target: requests in progress that a replica should have.
        least: fewest replicas.
        most: most replicas.
        now: replicas aimed at so far.
    """
    asked = math.ceil(ongoing / target - 1e-6)
    replicas = min(max(asked, least), most)
    if replicas > now:
        return Wanted(replicas=replicas, held="waiting-to-grow")
    if replicas < now:
        return Wanted(replicas=replicas, held="waiting-to-shrink")
    held: Held = "at-maximum" if asked > most else "at-minimum" if asked < least else "settled"
    return Wanted(replicas=replicas, held=held)


def reason_of(before: int, after: int) -> Reason:
    """Why the number of replicas went from one to another."""
    if before == 0:
        return "wake"
    if after == 0:
        return "idle"
    return "busy" if after > before else "quiet"


class ScalingPolicy:
    """What Serve calls.

    Args:
        endpoint: its name.
        folder: where replicas of this machine share their metrics; None where they are on others.
    """

    def __init__(self, endpoint: str, folder: str | None = None) -> None:
        self._endpoint = endpoint
        self._file = None if folder is None else Path(folder) / FILE
        self._aimed_at: int | None = None
        self._decisions: Counter[Reason] = Counter()
        self._published = ""
        self._series = _ray_series() if folder is None else None

    def __call__(self, context: Any) -> tuple[float, dict[str, Any]]:
        """Serve's question.

        Args:
            context: Ray Serve's `AutoscalingContext`.
        """
        aimed_at = int(context.target_num_replicas)
        if self._aimed_at is not None and aimed_at != self._aimed_at:
            self._count(reason_of(self._aimed_at, aimed_at))
        self._aimed_at = aimed_at
        wanted = wanted_replicas(
            ongoing=float(context.total_num_requests),
            target=float(context.config.target_ongoing_requests),
            least=int(context.capacity_adjusted_min_replicas),
            most=int(context.capacity_adjusted_max_replicas),
            now=aimed_at,
        )
        self._publish(int(context.current_num_replicas), wanted)
        return wanted.replicas, {}

    def _count(self, reason: Reason) -> None:
        self._decisions[reason] += 1
        if self._series is not None:
            self._series[0].inc(tags={"endpoint": self._endpoint, "reason": reason})

    def _publish(self, running: int, wanted: Wanted) -> None:
        if self._series is not None:
            self._series[1].set(wanted.replicas, tags={"endpoint": self._endpoint})
        if self._file is None:
            return
        text = exposition(self._endpoint, self._decisions, running=running, wanted=wanted)
        if text != self._published:
            from graftwork.whole_file import write_whole

            write_whole(self._file, text)
            self._published = text


def exposition(endpoint: str, decisions: Counter[Reason], *, running: int, wanted: Wanted) -> str:
    """The policy's series in Prometheus' text format."""
    lines = [
        "# HELP graftwork_scaling_decisions_total Changes of the number of replicas, by why.",
        "# TYPE graftwork_scaling_decisions_total counter",
    ]
    lines += [
        f'graftwork_scaling_decisions_total{{endpoint="{endpoint}",reason="{reason}"}} {count}'
        for reason, count in sorted(decisions.items())
    ]
    lines += [
        "# HELP graftwork_replicas Replicas that run, and that the load asks for within the bounds.",
        "# TYPE graftwork_replicas gauge",
        f'graftwork_replicas{{endpoint="{endpoint}",state="running"}} {running}',
        f'graftwork_replicas{{endpoint="{endpoint}",state="wanted"}} {wanted.replicas}',
        "# HELP graftwork_scaling_held Why the number of replicas is what it is now.",
        "# TYPE graftwork_scaling_held gauge",
        f'graftwork_scaling_held{{endpoint="{endpoint}",reason="{wanted.held}"}} 1',
    ]
    return "\n".join(lines) + "\n"


def _ray_series() -> tuple[Any, Any]:
    """The same through Ray, whose agent on the head's machine is asked by Prometheus."""
    from ray.util.metrics import Counter as RayCounter
    from ray.util.metrics import Gauge as RayGauge

    return (
        RayCounter(
            "graftwork_scaling_decisions", "Changes of the number of replicas, by why.", tag_keys=("endpoint", "reason")
        ),
        RayGauge("graftwork_replicas_wanted", "Replicas that the load asks for.", tag_keys=("endpoint",)),
    )
