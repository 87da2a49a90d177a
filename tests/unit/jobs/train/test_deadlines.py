"""How long a run may show nothing."""

from __future__ import annotations

import pytest

from graftwork_jobs.train.deadlines import Deadlines


def test_starting_and_going_on_have_deadlines_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first event the one, afterwards the other; each event sets it back."""
    now = [100.0]
    monkeypatch.setattr("graftwork_jobs.train.deadlines.time.monotonic", lambda: now[0])
    deadlines = Deadlines(scheduling_s=10, stall_s=30)
    now[0] += 9
    assert not deadlines.never_started
    now[0] += 2
    assert deadlines.never_started
    assert not deadlines.stalled
    deadlines.event_seen()
    now[0] += 29
    assert not deadlines.never_started
    assert not deadlines.stalled
    deadlines.event_seen()
    now[0] += 31
    assert deadlines.stalled
