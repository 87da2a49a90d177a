from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from graftwork_serving.rollback import Bounds, Evidence, GiveUp, Stay, Watch, WatchOn, judge

BOUNDS = Bounds(max_error_rate=0.05, max_latency_s=0.2, max_disagreement=0.1, window_s=600, min_requests=100)
GOOD = Evidence(age_s=600, requests=100, failures=5, latency_s=0.2, compared=100, disagreements=10)


def test_a_version_that_keeps_to_every_bound_stays() -> None:
    """At the bounds is still within them, once the window is over."""
    assert judge(GOOD, BOUNDS) == Stay()


@pytest.mark.parametrize(
    ("change", "bound", "figures"),
    [
        ({"failures": 6}, "error-rate", "6.0% of 100 requests failed, at most 5.0%"),
        ({"latency_s": 0.25}, "latency", "250 ms or less, at most 200 ms"),
        ({"disagreements": 11}, "disagreement", "11.0% of 100 examples"),
    ],
)
def test_crossing_a_bound_gives_a_version_up_at_once(change: dict[str, Any], bound: str, figures: str) -> None:
    """Whichever bound it is, before the window is over, with the figures in words."""
    verdict = judge(replace(GOOD, age_s=1, **change), BOUNDS)
    assert isinstance(verdict, GiveUp)
    assert verdict.bound == bound
    assert figures in verdict.why


@pytest.mark.parametrize(
    "change",
    [
        {"requests": 99, "failures": 99},
        {"compared": 99, "disagreements": 99},
        {"age_s": 599},
    ],
)
def test_nothing_is_said_before_enough_is_seen(change: dict[str, Any]) -> None:
    """Too few requests, too few comparisons or too little time: neither good nor bad."""
    assert judge(replace(GOOD, **change), BOUNDS) == WatchOn()


def test_what_has_no_bound_does_not_count() -> None:
    """Without bounds on them, neither slowness nor disagreement nor missing comparisons matter."""
    bounds = replace(BOUNDS, max_latency_s=None, max_disagreement=None)
    assert judge(replace(GOOD, latency_s=99, compared=0, disagreements=0), bounds) == Stay()


def test_a_watch_counts_what_it_is_told() -> None:
    """Requests, failures, comparisons, and the 95th percentile of the times."""
    watch = Watch(started_s=1000)
    for milliseconds in range(1, 101):
        watch.answered(milliseconds / 1000)
    watch.failed()
    watch.compared(4, 1)
    watch.compared(2, 2)
    assert watch.evidence(1030) == Evidence(
        age_s=30, requests=101, failures=1, latency_s=0.096, compared=6, disagreements=3
    )
    assert Watch(started_s=0).evidence(0).latency_s is None
