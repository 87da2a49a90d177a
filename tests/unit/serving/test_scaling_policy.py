from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from graftwork.metrics import render_shared_metrics
from graftwork.spec.inference_endpoint import Autoscaling
from graftwork.spec.serve_scaling import POLICY, scaling_options
from graftwork_serving.scaling_policy import ScalingPolicy, reason_of, wanted_replicas


@given(
    ongoing=st.floats(0, 1e5),
    target=st.floats(0.1, 100),
    least=st.integers(0, 5),
    more=st.integers(0, 20),
    now=st.integers(0, 25),
)
def test_the_load_is_shared_as_the_target_says(ongoing: float, target: float, least: int, more: int, now: int) -> None:
    """The fewest replicas that have at most the target each, or what the bounds allow."""
    most = max(1, least + more)
    wanted = wanted_replicas(ongoing=ongoing, target=target, least=least, most=most, now=now)
    assert least <= wanted.replicas <= most
    if wanted.replicas > least:
        assert ongoing > (wanted.replicas - 1) * target * (1 - 1e-6) - 1e-6
    if wanted.replicas < most:
        assert ongoing <= wanted.replicas * target * (1 + 1e-6) + 2e-6 * target
    assert (wanted.held == "waiting-to-grow") == (wanted.replicas > now)
    assert (wanted.held == "waiting-to-shrink") == (wanted.replicas < now)


@pytest.mark.parametrize(
    ("before", "after", "reason"), [(1, 3, "busy"), (3, 2, "quiet"), (1, 0, "idle"), (0, 1, "wake")]
)
def test_each_change_has_a_reason(before: int, after: int, reason: str) -> None:
    """In one word."""
    assert reason_of(before, after) == reason


def _context(*, ongoing: float, aimed_at: int, running: int) -> Any:
    return SimpleNamespace(
        total_num_requests=ongoing,
        target_num_replicas=aimed_at,
        current_num_replicas=running,
        capacity_adjusted_min_replicas=0,
        capacity_adjusted_max_replicas=3,
        config=SimpleNamespace(target_ongoing_requests=2),
    )


def test_metrics_tell_every_decision_and_what_holds_it(tmp_path: Path) -> None:
    """A step load and back, seen through the endpoint's own metrics."""
    policy = ScalingPolicy("e", str(tmp_path))
    steps = [(0.0, 1, 1), (9.0, 1, 1), (9.0, 3, 1), (9.0, 3, 3), (1.0, 3, 3), (1.0, 1, 1), (0.0, 1, 1), (0.0, 0, 0)]
    held = []
    for ongoing, aimed_at, running in steps:
        policy(_context(ongoing=ongoing, aimed_at=aimed_at, running=running))
        held.append(_samples(tmp_path, "graftwork_scaling_held").popitem()[0])
    assert held == [
        "waiting-to-shrink",
        "waiting-to-grow",
        "at-maximum",
        "at-maximum",
        "waiting-to-shrink",
        "settled",
        "waiting-to-shrink",
        "settled",
    ]
    policy(_context(ongoing=1.0, aimed_at=1, running=0))
    assert _samples(tmp_path, "graftwork_scaling_decisions") == {"busy": 1, "quiet": 1, "idle": 1, "wake": 1}
    assert _samples(tmp_path, "graftwork_replicas", label="state") == {"running": 0, "wanted": 1}


def _samples(folder: Path, family: str, label: str = "reason") -> dict[str, float]:
    families = {each.name: each for each in text_string_to_metric_families(render_shared_metrics(folder).decode())}
    return {sample.labels[label]: sample.value for sample in families[family].samples}


@pytest.mark.filterwarnings("ignore:The `metrics_interval_s` field:DeprecationWarning")
def test_serve_takes_the_options() -> None:
    """Ray Serve's own models accept them, and find the policy."""
    config = pytest.importorskip("ray.serve.config")
    scaling = Autoscaling(min_replicas=0, max_replicas=3, upscale_delay_seconds=2, downscale_delay_seconds=7)
    options = scaling_options(scaling, endpoint="e", folder="x")
    taken = config.AutoscalingConfig(**options["autoscaling_config"])
    assert (taken.min_replicas, taken.initial_replicas, taken.max_replicas) == (0, 1, 3)
    assert (taken.upscale_delay_s, taken.downscale_delay_s) == (2, 7)
    assert taken.metrics_interval_s == 1, "a request that wakes an endpoint waits until it has been told of"
    assert taken.policy.get_policy().__name__ == POLICY.partition(":")[2]
    assert scaling_options(Autoscaling(min_replicas=2, max_replicas=2), endpoint="e", folder=None) == {
        "num_replicas": 2
    }
