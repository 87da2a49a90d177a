from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

from graftwork_jobs.events import EventTail, append_event, read_events


def _write_many(path: Path, writer: int, count: int) -> None:
    for number in range(count):
        append_event(path, "progress", writer=writer, number=number, padding="x" * (number % 700))


def test_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    """Every event of every writer arrives whole, each writer's in its order."""
    path, count = tmp_path / "events.jsonl", 200
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(path, writer, count)) for writer in range(3)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    events = read_events(path)
    for writer in range(3):
        assert [event["number"] for event in events if event["writer"] == writer] == list(range(count))
    assert len(path.read_text().splitlines()) == 3 * count


def test_no_log_has_no_events(tmp_path: Path) -> None:
    """A run that has not begun has nothing to tell."""
    assert read_events(tmp_path / "events.jsonl") == []


def test_an_event_has_its_time_and_fields(tmp_path: Path) -> None:
    """Kind and fields as given, one JSON object a line."""
    append_event(tmp_path / "events.jsonl", "epoch", phase="head", loss=0.5)
    (line,) = (tmp_path / "events.jsonl").read_text().splitlines()
    event = json.loads(line)
    assert event.pop("time") > 0
    assert event == {"kind": "epoch", "phase": "head", "loss": 0.5}


def test_half_a_line_waits_until_it_is_whole(tmp_path: Path) -> None:
    """A tail takes a line up when its end has come, not before, and never twice."""
    path = tmp_path / "events.jsonl"
    append_event(path, "first")
    tail = EventTail(path)
    whole = json.dumps({"time": 1.0, "kind": "second"}) + "\n"
    with path.open("a") as stream:
        stream.write(whole[:9])
        stream.flush()
        assert [event["kind"] for event in tail.new_events()] == ["first"]
        assert list(tail.new_events()) == []
        stream.write(whole[9:])
    assert [event["kind"] for event in tail.new_events()] == ["second"]
    append_event(path, "third")
    assert [event["kind"] for event in tail.new_events()] == ["third"]


def test_a_line_cut_off_by_a_killed_writer_is_left_out(tmp_path: Path) -> None:
    """What follows such a line on the same line is lost with it; everything later is read."""
    path = tmp_path / "events.jsonl"
    append_event(path, "first")
    with path.open("a") as stream:
        stream.write('{"time": 1.0, "ki')
    append_event(path, "swallowed")
    append_event(path, "last")
    assert [event["kind"] for event in read_events(path)] == ["first", "last"]


def test_a_tail_can_begin_at_the_end(tmp_path: Path) -> None:
    """Old news is left out; a log that does not exist yet is read from its beginning."""
    path = tmp_path / "events.jsonl"
    early, late = EventTail(path), EventTail(path)
    early.skip_to_end()
    append_event(path, "old")
    late.skip_to_end()
    append_event(path, "new")
    assert [event["kind"] for event in early.new_events()] == ["old", "new"]
    assert [event["kind"] for event in late.new_events()] == ["new"]
