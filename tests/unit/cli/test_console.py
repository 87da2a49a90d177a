from __future__ import annotations

import io
import json
import threading

import pytest
from rich.console import Console

from graftwork.cli.console import (
    PlainReporter,
    TerminalReporter,
    console,
    format_amount,
    format_bytes,
    format_duration,
    make_reporter,
    on_one_line,
    print_json,
    print_table,
)


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_plain_progress_is_a_line_every_few_seconds() -> None:
    """Off a terminal, a long task says little: a line each 5 seconds with the time left, and one at the end."""
    stream, clock = io.StringIO(), Clock()
    with PlainReporter(stream, clock=clock).task("scan", 100, "pictures") as task:
        for _ in range(100):
            clock.now += 0.125
            task.advance()
    assert stream.getvalue().splitlines() == [
        "scan: 40% of 100 pictures, about 7.5 s left",
        "scan: 80% of 100 pictures, about 2.5 s left",
        "scan: 100 pictures in 12 s",
    ]


def test_plain_progress_of_unknown_size() -> None:
    """Without a total, the lines say how much is done."""
    stream, clock = io.StringIO(), Clock()
    with PlainReporter(stream, clock=clock).task("download", None, "bytes") as task:
        clock.now += 6
        task.advance(2_500_000)
    assert stream.getvalue().splitlines() == ["download: 2.5 MB", "download: 2.5 MB in 6.0 s"]


def test_a_task_that_fails_does_not_say_it_finished() -> None:
    """The last line of a task belongs to success."""
    stream = io.StringIO()
    with pytest.raises(ValueError, match="no"), PlainReporter(stream).task("scan", 2):
        raise ValueError("no")
    assert stream.getvalue() == ""


def test_threads_may_advance_one_task() -> None:
    """No step is lost when several threads advance a task."""
    stream = io.StringIO()
    with PlainReporter(stream).task("scan", 8000, "pictures") as task:

        def work() -> None:
            for _ in range(1000):
                task.advance()

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert stream.getvalue().startswith("scan: 8,000 pictures in")


def test_terminal_progress_shows_amounts_and_keeps_user_text() -> None:
    """On a terminal, bars show how much is done; brackets in names are text, not markup."""
    screen = Console(file=io.StringIO(), force_terminal=True, width=120, markup=False, highlight=False)
    reporter = TerminalReporter(screen)
    with reporter.task("read [bold]x", 10, "pictures") as outer, reporter.task("inner", None) as inner:
        outer.advance(4)
        inner.advance()
        reporter.warn("take care [red]")
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "Warning: take care [red]" in text
    assert "read [bold]x: 4 pictures in" in text


def test_json_mode_keeps_stdout_clean(capsys: pytest.CaptureFixture[str]) -> None:
    """In JSON mode progress goes to stderr, and stdout is one JSON document."""
    reporter = make_reporter("json")
    with reporter.task("scan", 1) as task:
        task.advance()
    reporter.say("hello")
    print_json({"a": "ä"})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"a": "ä"}
    assert captured.err.splitlines()[-1] == "hello"


def test_json_refuses_what_json_cannot_hold() -> None:
    """`NaN` is no JSON."""
    with pytest.raises(ValueError, match="JSON"):
        print_json({"a": float("nan")})


def test_tables_are_plain_columns_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers stand right, text left, None is a dash, markup is text."""
    print_table(["name", "count"], [["a[bold]", 5], ["b", 1200], [None, "1,000"]], title="Things")
    assert capsys.readouterr().out.splitlines() == [
        "Things",
        "name     count",
        "a[bold]      5",
        "b         1200",
        "-        1,000",
    ]


def test_lines_are_never_broken_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A long line stays one line for `grep`."""
    console().print("x" * 500)
    assert capsys.readouterr().out == "x" * 500 + "\n"


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR set, a terminal gets no colour codes."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert console().no_color


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (format_bytes(512), "512 B"),
        (format_bytes(8_900_000), "8.9 MB"),
        (format_bytes(2.5e12), "2.5 TB"),
        (format_amount(1200, "pictures"), "1,200 pictures"),
        (format_amount(1.5, ""), "1.5"),
        (format_duration(0.44), "0.4 s"),
        (format_duration(59.4), "59 s"),
        (format_duration(185), "3 min 05 s"),
        (format_duration(7800), "2 h 10 min"),
    ],
)
def test_amounts_are_for_people(received: str, expected: str) -> None:
    """Sizes, counts and times are short and carry their unit."""
    assert received == expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\nb\t\x1b[2J.png", r"a\nb\t\x1b[2J.png"), ("\udcff.png", r"\udcff.png"), ("größe 🧑‍🌾.png", "größe 🧑‍🌾.png")],
)
def test_what_would_break_a_line_is_escaped(text: str, shown: str) -> None:
    """Names of files may hold line ends, and bytes that are no UTF-8; letters of any language stay."""
    assert on_one_line(text) == shown
