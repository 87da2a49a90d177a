"""The `schedule` section of a FineTuneJob: when an operator starts runs of it by itself, and how many it keeps.

The times follow from the spec and the clock alone; nothing is remembered here.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, model_validator

from graftwork.spec.amounts import Duration
from graftwork.spec.base import CRON_PATTERN, TIME_ZONE_PATTERN, Inconsistency, SpecModel, refuse_if_any

_SECOND = timedelta(seconds=1)


class History(SpecModel):
    """How many finished runs are kept; older ones are deleted, registered models stay."""

    succeeded: Annotated[int, Field(ge=0, le=100)] = 3
    """Runs that succeeded."""
    failed: Annotated[int, Field(ge=0, le=100)] = 1
    """Runs that failed."""


class Schedule(SpecModel):
    """When runs of the job begin: each is a FineTuneJob of its own, named after the job and its time (UTC)."""

    cron: Annotated[str, Field(max_length=256, pattern=CRON_PATTERN)]
    """Minute, hour, day of the month, month and day of the week, such as `0 3 * * 1` for Mondays at three."""
    time_zone: Annotated[str, Field(max_length=64, pattern=TIME_ZONE_PATTERN)] = "UTC"
    """Time zone of `cron`, such as `Europe/Berlin`. When clocks change, a fixed time of day comes once."""
    concurrency_policy: Literal["allow", "forbid", "replace"] = "forbid"
    """What becomes of a time that comes while a run is under way: `allow` starts a run beside it, `forbid` passes the
    time over, `replace` deletes the run that is under way."""
    starting_deadline: Duration = "1h"
    """How late a run may begin that could not begin in time, for instance because no operator ran. Later the time is
    passed over; of several times that were missed only the last one counts."""
    history: History = History()
    """How many finished runs are kept."""
    suspend: bool = False
    """Whether to start no more runs. One that is under way goes on; times that pass meanwhile are not made up for."""

    @model_validator(mode="after")
    def _has_times(self) -> Self:
        refuse_if_any(self._no_zone() or self._no_time())
        return self

    def last_time(self, now: datetime) -> datetime | None:
        """The last moment up to now at which a run was to begin; None if there never was one."""
        return self._nearest(now + _SECOND, backwards=True)

    def next_time(self, now: datetime) -> datetime | None:
        """The next moment after now at which a run is to begin; None if there will be none."""
        return self._nearest(now, backwards=False)

    def _nearest(self, now: datetime, *, backwards: bool) -> datetime | None:
        from cronsim import CronSim

        found = next(CronSim(self.cron, now.astimezone(ZoneInfo(self.time_zone)), reverse=backwards), None)
        return None if found is None else found.astimezone(UTC)

    def _no_zone(self) -> Inconsistency | None:
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return Inconsistency(
                at=("timeZone",),
                received=f"`{self.time_zone}`",
                expected="a name of the IANA time zone database, such as `Europe/Berlin`",
                fix="Correct the name, or leave it out for UTC.",
            )
        return None

    def _no_time(self) -> Inconsistency | None:
        from cronsim import CronSimError

        try:
            has_times = self.next_time(datetime(2026, 1, 1, tzinfo=UTC)) is not None
            reason = "never"
        except CronSimError as error:
            has_times, reason = False, f"{error}".lower()
        if has_times:
            return None
        return Inconsistency(
            at=("cron",),
            received=f"`{self.cron}` ({reason})",
            expected="minute 0-59, hour 0-23, day of the month 1-31, month 1-12, day of the week 0-7 (or SUN-SAT)",
            fix="Write five fields that some day meets, such as `0 3 * * 1` for Mondays at three.",
        )
