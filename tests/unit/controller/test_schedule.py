"""Schedules on a cluster in memory, whose clock the test sets."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwork.controller import names
from graftwork.controller.ownership import NotOursError
from tests.support.fake_cluster import KilledError
from tests.unit.controller.test_life_cycle import JOB_KEY, Setting
from tests.unit.spec.examples import JOB, changed, without

FIRST_LOOK = datetime(2026, 1, 1, 12, tzinfo=UTC)
FIRST, SECOND, THIRD = "flowers-202601020300", "flowers-202601030300", "flowers-202601040300"


def scheduled(**schedule: Any) -> dict[str, Any]:
    """The job, every night at three."""
    return changed(JOB, ("spec", "schedule"), {"cron": "0 3 * * *", **schedule})


class Nights(Setting):
    """A cluster with a job that is run at night."""

    def __init__(self, **schedule: Any) -> None:
        super().__init__()
        self.now = FIRST_LOOK
        self.submit(scheduled(**schedule))
        self.settle()

    def night(self, number: int, *, late: timedelta = timedelta()) -> None:
        """It is three o'clock, or later, of a night; somebody looks."""
        self.now = datetime(2026, 1, 1 + number, 3, tzinfo=UTC) + late
        self.settle()

    def runs(self) -> list[str]:
        """The runs there are."""
        return [name for name in self.cluster.named("FineTuneJob") if name != "flowers"]

    def ever(self) -> list[str]:
        """The runs there ever were, each as often as it was made."""
        return [name for kind, name in self.cluster.history if kind == "FineTuneJob" and name != "flowers"]

    def end(self, run: str, phase: str = "Succeeded", **status: Any) -> None:
        """A run ends; the operator sees it."""
        self.cluster.objects["FineTuneJob", "team", run]["status"] = {"phase": phase, **status}
        self.settle()


def test_the_first_look_starts_nothing() -> None:
    """A schedule counts from when it was seen; when the first run begins is told."""
    nights = Nights()
    assert nights.runs() == []
    assert nights.cluster.named("RayJob") == ()
    assert (nights.status()["phase"], nights.status()["nextRunTime"]) == ("Waiting", "2026-01-02T03:00:00Z")
    assert nights.look() == pytest.approx(3600)


def test_the_next_look_is_at_the_next_time() -> None:
    """To the second, once it is less than an hour away."""
    nights = Nights()
    nights.now = datetime(2026, 1, 2, 2, 59, 30, tzinfo=UTC)
    assert nights.look() == pytest.approx(30)


def test_a_run_is_the_job_without_its_schedule() -> None:
    """It is named after job and time, names its job in a label, goes with it, and is run like any other."""
    nights = Nights()
    nights.night(1)
    (name,) = nights.runs()
    run = nights.cluster.objects["FineTuneJob", "team", name]
    assert name == FIRST
    assert run["spec"]["training"]["seed"] == JOB["spec"]["training"]["seed"]
    assert "schedule" not in run["spec"]
    assert run["metadata"]["labels"] == {names.SCHEDULE_LABEL: "flowers"}
    nights.settle(type(JOB_KEY)(kind="FineTuneJob", namespace="team", name=name))
    assert [each.startswith(FIRST) for each in nights.cluster.named("RayJob")] == [True]
    assert nights.status()["phase"] == "Running"
    nights.cluster.delete("", "FineTuneJob", "team", "flowers")
    assert nights.runs() == []
    assert nights.cluster.named("RayJob") == ()


def test_each_time_has_one_run() -> None:
    """However often somebody looks, and over many nights."""
    nights = Nights()
    for number, name in ((1, FIRST), (2, SECOND), (3, THIRD)):
        nights.night(number)
        nights.night(number, late=timedelta(minutes=10))
        nights.end(name)
    assert nights.ever() == [FIRST, SECOND, THIRD]


def test_of_missed_times_the_last_is_made_up_for() -> None:
    """The operator was away for three nights and half an hour: one run, for the last time."""
    nights = Nights()
    nights.night(3, late=timedelta(minutes=30))
    assert nights.ever() == [THIRD]


def test_what_is_too_late_is_passed_over() -> None:
    """Beyond `startingDeadline` nothing begins, and that is told."""
    nights = Nights(startingDeadline="10m")
    nights.night(1, late=timedelta(minutes=11))
    assert nights.ever() == []
    assert "RunPassedOver" in nights.events()
    nights.night(2, late=timedelta(minutes=9))
    assert nights.ever() == [SECOND]


@pytest.mark.parametrize(
    ("policy", "second_night"), [("forbid", [FIRST]), ("allow", [FIRST, SECOND]), ("replace", [SECOND])]
)
def test_a_run_under_way_meets_the_next_time(policy: str, second_night: list[str]) -> None:
    """`forbid` passes the time over, `allow` starts another run, `replace` deletes the one under way."""
    nights = Nights(concurrencyPolicy=policy)
    nights.night(1)
    nights.night(2)
    assert nights.runs() == second_night
    assert ("RunPassedOver" in nights.events()) == (policy == "forbid")


def test_a_time_that_was_passed_over_stays_so() -> None:
    """The run under way ends soon after: its successor is that of the next night."""
    nights = Nights()
    nights.night(1)
    nights.night(2)
    nights.end(FIRST)
    assert nights.runs() == [FIRST]
    nights.night(3)
    assert nights.runs() == [FIRST, THIRD]


def test_a_suspended_schedule_starts_nothing_and_makes_up_for_nothing() -> None:
    """A run under way goes on; after it is resumed, the next time is the next one."""
    nights = Nights()
    nights.night(1)
    nights.submit(scheduled(suspend=True))
    nights.night(2)
    assert (nights.runs(), nights.status()["phase"]) == ([FIRST], "Running")
    assert "nextRunTime" not in nights.status()
    nights.end(FIRST)
    assert nights.status()["phase"] == "Suspended"
    nights.submit(scheduled(suspend=False))
    nights.night(2, late=timedelta(minutes=5))
    assert nights.runs() == [FIRST]
    nights.night(3)
    assert nights.runs() == [FIRST, THIRD]


def test_a_changed_schedule_makes_up_for_nothing() -> None:
    """A time that lies behind was none when it came."""
    nights = Nights()
    nights.submit(scheduled(cron="30 11 * * *"))
    nights.settle()
    assert nights.runs() == []
    assert nights.status()["nextRunTime"] == "2026-01-02T11:30:00Z"


def test_finished_runs_are_kept_as_the_spec_says() -> None:
    """The oldest go first; failed ones are counted by themselves, and none of them comes again."""
    nights = Nights(history={"succeeded": 1, "failed": 1})
    for number, (name, phase) in enumerate(((FIRST, "Succeeded"), (SECOND, "Failed"), (THIRD, "Succeeded")), start=1):
        nights.night(number)
        nights.end(name, phase)
    assert nights.runs() == [SECOND, THIRD]
    assert nights.ever() == [FIRST, SECOND, THIRD]


def test_a_deleted_run_does_not_come_again() -> None:
    """Somebody deletes a run within the time in which it could begin."""
    nights = Nights()
    nights.night(1)
    nights.cluster.delete("", "FineTuneJob", "team", FIRST)
    nights.night(1, late=timedelta(minutes=10))
    assert nights.runs() == []


def test_the_status_tells_of_the_last_run() -> None:
    """What it registered, and how it ended; a failed run leaves the model of the one before."""
    nights = Nights()
    nights.night(1)
    nights.end(FIRST, model="flowers/3", accuracy="0.9500", metrics={"accuracy": 0.95})
    assert (nights.status()["lastRun"], nights.status()["model"]) == (FIRST, "flowers/3")
    assert nights.condition("Succeeded")["status"] == "True"
    nights.night(2)
    nights.end(SECOND, "Failed", message="accuracy 0.4 < 0.9")
    assert (nights.status()["lastRun"], nights.status()["model"]) == (SECOND, "flowers/3")
    condition = nights.condition("Succeeded")
    assert (condition["status"], condition["message"]) == ("False", f"{SECOND}: accuracy 0.4 < 0.9")


def test_runs_of_a_namesake_are_not_its_own() -> None:
    """The job was deleted and applied again: what the old one left counts for nothing."""
    nights = Nights()
    nights.night(1)
    run = nights.cluster.objects["FineTuneJob", "team", FIRST]
    run["metadata"]["ownerReferences"][0]["uid"] = "another"
    nights.night(2)
    assert nights.runs() == [FIRST, SECOND]


def test_a_time_whose_name_somebody_took_is_told_and_begins_later() -> None:
    """A FineTuneJob that the schedule did not make is not its run; once that is gone, the run begins."""
    nights = Nights()
    foreign = {**without(JOB, ("metadata",)), "metadata": {"name": FIRST, "namespace": "team"}}
    nights.cluster.apply(foreign)
    with pytest.raises(NotOursError, match=f"FineTuneJob {FIRST}"):
        nights.night(1)
    assert nights.condition("Scheduled")["reason"] == "NameTaken"
    assert nights.events() == {"NameTaken"}
    nights.cluster.delete("", "FineTuneJob", "team", FIRST)
    nights.settle()
    assert nights.status()["lastRun"] == FIRST
    assert "under way" in nights.status()["message"]
    assert "NameTaken" not in str(nights.status())


def test_a_job_that_gets_a_schedule_stops_training_itself() -> None:
    """Its RayJob goes, with all that belongs to it; and a job whose schedule goes trains itself again."""
    nights = Nights()
    nights.submit(without(scheduled(), ("spec", "schedule")))
    nights.settle()
    (ray_job,) = nights.cluster.named("RayJob")
    assert "nextRunTime" not in nights.status()
    nights.submit(scheduled())
    nights.settle()
    assert nights.cluster.named("RayJob") == ()
    assert not [name for kind, _, name in nights.cluster.objects if kind != "Event" and name.startswith(ray_job)]
    assert nights.status()["phase"] == "Waiting"
    assert "specDigest" not in nights.status()


@pytest.mark.parametrize("killed_at", range(1, 6))
def test_a_run_that_nobody_saw_end_does_not_come_again(killed_at: int) -> None:
    """The operator dies right after it made a run, which ends and is not kept, and dies again while it notices."""
    nights = Nights(history={"succeeded": 0})

    def die_at(number: int) -> None:
        if nights.cluster.writes >= number:
            raise KilledError

    def look_and_die(writes: int) -> None:
        last = nights.cluster.writes + writes
        nights.cluster.after_write = lambda: die_at(last)
        with suppress(KilledError):
            nights.settle()
        nights.cluster.after_write = lambda: None

    nights.now = datetime(2026, 1, 2, 3, tzinfo=UTC)
    look_and_die(1)
    nights.cluster.objects["FineTuneJob", "team", FIRST]["status"] = {"phase": "Succeeded"}
    look_and_die(killed_at)
    nights.settle()
    assert (nights.ever(), nights.runs()) == ([FIRST], [])


def _three_nights(nights: Nights, look: Callable[[], None]) -> None:
    for number, name in enumerate((FIRST, SECOND, THIRD), start=1):
        nights.now = datetime(2026, 1, 1 + number, 3, tzinfo=UTC)
        look()
        nights.cluster.objects["FineTuneJob", "team", name]["status"] = {"phase": "Succeeded"}
        look()


@settings(max_examples=30)
@given(kills=st.sets(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=4))
def test_killed_anywhere_each_time_has_one_run(kills: set[tuple[int, bool]]) -> None:
    """Killed before or after any writes, the restarted operator makes the same runs, each once."""
    nights = Nights(history={"succeeded": 1})
    pending = set(kills)

    def die(*, after: bool) -> None:
        at = (nights.cluster.writes + (0 if after else 1), after)
        if at in pending:
            pending.remove(at)
            raise KilledError

    def look() -> None:
        while True:
            nights.cluster.before_write = lambda: die(after=False)
            nights.cluster.after_write = lambda: die(after=True)
            try:
                nights.settle()
            except KilledError:
                continue
            finally:
                nights.cluster.before_write = nights.cluster.after_write = lambda: None
            return

    _three_nights(nights, look)
    assert nights.ever() == [FIRST, SECOND, THIRD]
    assert nights.runs() == [THIRD]
