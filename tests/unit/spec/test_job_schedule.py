from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graftwork.spec.job_schedule import Schedule

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)  # a Wednesday


@pytest.mark.parametrize(
    ("cron", "zone", "before", "after"),
    [
        ("0 3 * * *", "UTC", "2026-03-04T03:00+00:00", "2026-03-05T03:00+00:00"),
        ("0 3 * * 1", "UTC", "2026-03-02T03:00+00:00", "2026-03-09T03:00+00:00"),
        ("0 3 * * MON", "UTC", "2026-03-02T03:00+00:00", "2026-03-09T03:00+00:00"),
        ("30 0 1 */3 *", "UTC", "2026-01-01T00:30+00:00", "2026-04-01T00:30+00:00"),
        ("0 3 * * *", "Asia/Tokyo", "2026-03-03T18:00+00:00", "2026-03-04T18:00+00:00"),
        ("0 12 * * *", "UTC", "2026-03-04T12:00+00:00", "2026-03-05T12:00+00:00"),
        ("0 0 29 2 *", "UTC", "2024-02-29T00:00+00:00", "2028-02-29T00:00+00:00"),
    ],
)
def test_times_are_those_of_the_calendar(cron: str, zone: str, before: str, after: str) -> None:
    """The moment itself counts as past; the rest anybody can read off a calendar."""
    schedule = Schedule(cron=cron, time_zone=zone)
    assert schedule.last_time(NOON) == datetime.fromisoformat(before)
    assert schedule.next_time(NOON) == datetime.fromisoformat(after)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize("cron", ["30 2 * * *", "0 1 * * *", "15 3 * * *"])
def test_a_time_of_day_comes_once_a_day(cron: str, zone: str) -> None:
    """Also on the days on which clocks are set forward or back."""
    schedule = Schedule(cron=cron, time_zone=zone)
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    days: list[date] = []
    while len(days) < 365:
        following = schedule.next_time(now)
        assert following is not None
        now = following
        days.append(now.astimezone(ZoneInfo(zone)).date())
    assert [later - earlier for earlier, later in pairwise(days)] == [timedelta(days=1)] * 364


@given(
    cron=st.sampled_from(["*/20 * * * *", "0 * * * *", "30 2 * * *", "0 1-4 * * 0", "15 2,3 * * *"]),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    minutes=st.integers(0, 365 * 24 * 60),
)
def test_looking_back_finds_what_was_foreseen(cron: str, zone: str, minutes: int) -> None:
    """The time that was foreseen is the last one from then on: a run is started once, whenever somebody looks."""
    schedule = Schedule(cron=cron, time_zone=zone)
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    following = schedule.next_time(now)
    assert following is not None
    assert following > now
    assert schedule.last_time(following) == following
    earlier = schedule.last_time(following - timedelta(seconds=1))
    assert earlier is not None
    assert earlier <= now
