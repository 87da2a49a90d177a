from __future__ import annotations

import pytest

from graftwork.errors import PermanentError
from graftwork.settings import Settings
from graftwork_jobs import run_paths
from graftwork_jobs.events import read_events
from graftwork_jobs.run_record import recorded


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), "stopped", "the same command continues it"),
        (PermanentError("It broke."), "failed", "It broke."),
        (ZeroDivisionError("oh"), "failed", "ZeroDivisionError: oh"),
    ],
)
def test_the_state_says_how_a_run_ended(error: BaseException, status: str, message: str, settings: Settings) -> None:
    """The error goes on to the caller and its text into the run's state."""
    paths = run_paths.new_run(settings, "flowers")
    with pytest.raises(type(error)), recorded(paths, "f"):
        raise error
    state = run_paths.read_state(paths)
    assert state.status == status
    assert message in state.message


def test_an_end_that_cannot_be_recorded_does_not_hide_why(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the user hears of what failed first."""
    paths = run_paths.new_run(settings, "flowers")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def fail() -> None:
        with recorded(paths, "f"):
            monkeypatch.setattr(run_paths, "write_state", full)
            raise PermanentError("first")

    with pytest.raises(PermanentError, match="first"):
        fail()


def test_the_event_log_tells_the_stages(settings: Settings) -> None:
    """State and events agree."""
    paths = run_paths.new_run(settings, "flowers")
    with recorded(paths, "f") as record:
        record("training")
        record("succeeded", "fine", version=3)
    assert [event["stage"] for event in read_events(paths.events_file)] == ["planned", "training", "succeeded"]
    assert run_paths.read_state(paths).result == {"version": 3}
