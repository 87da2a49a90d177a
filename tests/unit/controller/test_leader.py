from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from graftwork.controller.leader import LEASE_S, RENEW_S, Leader, next_lease
from tests.support.fake_cluster import FakeCluster

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def _two() -> tuple[Leader, Leader, Clock]:
    cluster, clock = FakeCluster(), Clock()
    first, second = (
        Leader(cluster=cluster, namespace="system", name="graft-operator", me=name, clock=clock) for name in "ab"
    )
    return first, second, clock


def test_a_free_lease_is_taken_and_kept() -> None:
    """Who asks first leads, and the other waits."""
    first, second, _ = _two()
    assert first.try_once()
    assert not second.try_once()
    assert first.try_once()


def test_a_dead_leader_is_followed() -> None:
    """When the Lease ran out, another takes over, and the old one does not come back by itself."""
    first, second, clock = _two()
    first.try_once()
    clock.now += timedelta(seconds=LEASE_S + 1)
    assert second.try_once()
    assert not first.try_once()


def test_stepping_down_lets_another_lead_at_once() -> None:
    """No waiting for the Lease after an orderly end."""
    first, second, _ = _two()
    first.try_once()
    first.step_down()
    assert second.try_once()
    assert not first.leads


@given(steps=st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 8)), max_size=40))
def test_never_two_leaders(steps: list[tuple[str, float]]) -> None:
    """Whoever asks whenever: at no time do two believe that they lead."""
    first, second, clock = _two()
    for who, later_s in steps:
        clock.now += timedelta(seconds=later_s)
        (first if who == "a" else second).try_once()
        assert not (first.leads and second.leads)


def test_a_holder_stops_before_others_begin() -> None:
    """The holder's own deadline is shorter than the Lease."""
    assert RENEW_S < LEASE_S


def test_transitions_are_counted() -> None:
    """The Lease tells how often the leader changed."""
    lease = next_lease(None, me="a", namespace="system", name="graft-operator", now=START)
    assert lease is not None
    later = START + timedelta(seconds=LEASE_S + 1)
    taken = next_lease(lease, me="b", namespace="system", name="graft-operator", now=later)
    assert taken is not None
    assert (taken["spec"]["leaseTransitions"], taken["spec"]["holderIdentity"]) == (1, "b")
