"""What the report says about the feature store."""

from __future__ import annotations

from typing import Any

import pytest

from graftwork_jobs.features.usage import usage_by_phase


def _event(phase: str, split: str, *, hits: int, entries: int = 1, seconds: float = 1.0, **more: Any) -> dict[str, Any]:
    engine = None if hits == entries else "tensorflow"
    return {
        "kind": "features",
        "phase": phase,
        "split": split,
        "cut": "pool",
        "views": 0,
        "hits": hits,
        "entries": entries,
        "bytes": 100 * entries,
        "seconds": seconds,
        "engine": engine,
        "engine_reason": engine and "the default",
        **more,
    }


def test_entries_of_a_phase_are_summed_up() -> None:
    """Training views and validation data together; other events and other phases are left out."""
    events = [
        {"kind": "phase_started", "phase": "head"},
        _event("head", "train", hits=1, entries=4, views=4, seconds=2.5, engine="openvino", engine_reason="faster"),
        _event("head", "validation", hits=0),
        _event("tune", "train", hits=1),
    ]
    usage = usage_by_phase(events)
    assert list(usage) == ["head", "tune"]
    head = usage["head"]
    assert (head.views, head.entries, head.hits, head.size_bytes) == (4, 5, 1, 500)
    assert head.seconds == pytest.approx(3.5)
    assert head.hit_rate == pytest.approx(0.2)
    assert (head.engine, head.engine_reason) == ("openvino", "faster")
    assert usage["tune"].engine is None


def test_a_second_look_after_an_interruption_is_no_hit() -> None:
    """The restarted phase finds what it computed itself; only its time counts."""
    usage = usage_by_phase([_event("head", "train", hits=0), _event("head", "train", hits=1, seconds=0.25)])["head"]
    assert (usage.entries, usage.hits, usage.seconds) == (1, 0, 1.25)


def test_phases_without_features_are_left_out() -> None:
    """Nothing to say about them."""
    assert usage_by_phase([{"kind": "phase_started", "phase": "head"}]) == {}
