"""What became of the feature store in each phase of a run, read off the run's events. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from graftwork_jobs.events import Event

ENGINE_NAMES = {"tensorflow": "TensorFlow", "jax": "JAX", "openvino": "OpenVINO"}
"""What people call the engines that run a trunk."""


@dataclass(frozen=True, kw_only=True)
class FeatureUsage:
    """How one phase came by the features of its trunk.

    Attributes:
        cut: layer whose output they are; several where more and more of the backbone trains.
        views: random versions of each training example; 0 for examples as they are.
        entries: features of a split or a view that it asked the store for.
        hits: how many of them were there.
        seconds: spent on looking them up and computing them.
        size_bytes: of all of them.
        engine: what ran the trunk; None where nothing was computed.
        engine_reason: why, in words; None where nothing was computed.
    """

    cut: str
    views: int
    entries: int
    hits: int
    seconds: float
    size_bytes: int
    engine: str | None
    engine_reason: str | None

    @property
    def hit_rate(self) -> float:
        """Share of entries that the store had."""
        return self.hits / self.entries


def usage_by_phase(events: Iterable[Event]) -> dict[str, FeatureUsage]:
    """Sum up `features` events by phase; phases that kept no features are left out.

    A phase that was interrupted looks its features up again. What the first look found counts; seconds add up.
    """
    first: dict[tuple[str, str, str], Event] = {}
    seconds: dict[str, float] = {}
    for event in events:
        if event["kind"] == "features":
            first.setdefault((event["phase"], event["cut"], event["split"]), event)
            seconds[event["phase"]] = seconds.get(event["phase"], 0.0) + event["seconds"]
    return {
        phase: _sum_up([event for (owner, *_), event in first.items() if owner == phase], seconds[phase])
        for phase in seconds
    }


def _sum_up(events: list[Event], seconds: float) -> FeatureUsage:
    # The training data's computation is the longest, and it comes first.
    engines = [(event["engine"], event["engine_reason"]) for event in events if event["engine"]]
    engine, reason = engines[0] if engines else (None, None)
    return FeatureUsage(
        cut=", ".join(dict.fromkeys(event["cut"] for event in events)),
        views=max(event["views"] for event in events),
        entries=sum(event["entries"] for event in events),
        hits=sum(event["hits"] for event in events),
        seconds=seconds,
        size_bytes=sum(event["bytes"] for event in events),
        engine=engine,
        engine_reason=reason,
    )
