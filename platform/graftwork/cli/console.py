"""How commands print: tables, JSON and progress, on a terminal and without one.

Results go to stdout. Progress goes to stdout in text mode and to stderr in JSON mode, so that stdout is JSON only.
Colours and bars appear on a terminal only; `NO_COLOR` is honoured.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from graftwork.cli.options import Output
    from graftwork.progress import Reporter, Task

_LINE_INTERVAL_S = 5.0
# Unicode's categories of controls, lone surrogates (bytes of a name that are no UTF-8), ends of lines and paragraphs.
_NOT_SHOWN = frozenset({"Cc", "Cs", "Zl", "Zp"})
_MINUTE_S = 60
_HOUR_S = 3600


def console(*, stderr: bool = False) -> Console:
    """A rich console that prints text as it is (no markup in user data) and never breaks lines off a terminal."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_json(content: Any) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """Print rows under headings: a drawn table on a terminal, aligned columns otherwise.

    Numbers are aligned to the right; format floats before. None prints as `-`, line ends and control
    characters escaped.
    """
    numeric = [bool(rows) and all(_is_number(row[index]) for row in rows) for index in range(len(columns))]
    cells = [["-" if value is None else on_one_line(str(value)) for value in row] for row in rows]
    if not sys.stdout.isatty():
        _print_columns(columns, cells, numeric, title)
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, header_style="bold")
    for name, right in zip(columns, numeric, strict=True):
        table.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    console().print(table, soft_wrap=False)


def on_one_line(text: str) -> str:
    """Text with line ends, control characters and what has no encoding escaped; all else as it is."""
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _NOT_SHOWN else char for char in text
    )


def make_reporter(output: Output) -> Reporter:
    """Something that shows progress where it fits: bars on a terminal, a few plain lines otherwise."""
    on_stderr = output == "json"
    screen = console(stderr=on_stderr)
    if screen.is_terminal and not screen.is_dumb_terminal:
        return TerminalReporter(screen)
    return PlainReporter(sys.stderr if on_stderr else sys.stdout)


class TerminalReporter:
    """Bars with rate and remaining time; lines said meanwhile appear above them. Threads may use it."""

    def __init__(self, screen: Console) -> None:
        self._screen = screen
        self._progress: Progress | None = None
        self._open_tasks = 0
        self._lock = threading.Lock()

    def say(self, message: str) -> None:
        """One line, now."""
        self._screen.print(message)

    def warn(self, message: str) -> None:
        """One line that a person should not miss."""
        self._screen.print(f"Warning: {message}", style="yellow")

    @contextmanager
    def task(self, description: str, total: float | None, unit: str = "") -> Iterator[Task]:
        """A bar while the block runs, and a line about it afterwards."""
        started = time.monotonic()
        progress = self._join()
        task = progress.add_task(description, total=total, unit=unit)
        bar = _Bar(progress, task)
        try:
            yield bar
        finally:
            progress.remove_task(task)
            self._leave()
        self._screen.print(_finished_line(description, bar.done, unit, time.monotonic() - started), style="dim")

    def _join(self) -> Progress:
        with self._lock:
            if self._progress is None:
                self._progress = _make_progress(self._screen)
                self._progress.start()
            self._open_tasks += 1
            return self._progress

    def _leave(self) -> None:
        with self._lock:
            self._open_tasks -= 1
            if self._open_tasks == 0 and self._progress is not None:
                self._progress.stop()
                self._progress = None


class PlainReporter:
    """Plain lines: one at the end of each task, and one every few seconds while it takes longer. Threads may use it.

    Args:
        stream: where to write; lines are flushed at once.
        clock: seconds that only grow.
    """

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._lock = threading.Lock()

    def say(self, message: str) -> None:
        """One line, now."""
        with self._lock:
            self._stream.write(message + "\n")
            self._stream.flush()

    def warn(self, message: str) -> None:
        """One line that a person should not miss."""
        self.say(f"Warning: {message}")

    @contextmanager
    def task(self, description: str, total: float | None, unit: str = "") -> Iterator[Task]:
        """Lines while the block runs, and one about it afterwards."""
        task = _PlainTask(self.say, self._clock, description, total, unit)
        yield task
        self.say(_finished_line(description, task.done, unit, self._clock() - task.started))


class _Bar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self._lock = threading.Lock()
        self.done = 0.0

    def advance(self, amount: float = 1) -> None:
        with self._lock:
            self.done += amount
        self._progress.advance(self._task, amount)


class _PlainTask:
    def __init__(
        self, say: Callable[[str], None], clock: Callable[[], float], description: str, total: float | None, unit: str
    ) -> None:
        self._say = say
        self._clock = clock
        self._description = description
        self._total = total
        self._unit = unit
        self._lock = threading.Lock()
        self.started = self._last_line = clock()
        self.done = 0.0

    def advance(self, amount: float = 1) -> None:
        with self._lock:
            self.done += amount
            now = self._clock()
            if now - self._last_line < _LINE_INTERVAL_S:
                return
            self._last_line = now
            line = _progress_line(self._description, self.done, self._total, self._unit, now - self.started)
        self._say(line)


def format_amount(amount: float, unit: str) -> str:
    """An amount with its unit: `1,200 pictures`, `8.9 MB`."""
    if unit in {"bytes", "B"}:
        return format_bytes(amount)
    number = f"{amount:,.0f}" if amount == int(amount) else f"{amount:,.1f}"
    return f"{number} {unit}".rstrip()


def format_bytes(amount: float) -> str:
    """A number of bytes in decimal units: `512 B`, `8.9 MB`."""
    size = float(amount)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:  # noqa: PLR2004 (decimal units)
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def format_duration(seconds: float) -> str:
    """A duration for people: `0.4 s`, `42 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 10:  # noqa: PLR2004 (tenths matter only for short times)
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S:02d} s"
    return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S:02d} min"


def _progress_line(description: str, done: float, total: float | None, unit: str, elapsed_s: float) -> str:
    if not total:
        return f"{description}: {format_amount(done, unit)}"
    share = min(1.0, done / total)
    line = f"{description}: {share:.0%} of {format_amount(total, unit)}"
    return f"{line}, about {format_duration(elapsed_s * (1 - share) / share)} left" if 0 < share < 1 else line


def _finished_line(description: str, done: float, unit: str, elapsed_s: float) -> str:
    amount = f"{format_amount(done, unit)} in " if done else ""
    return f"{description}: {amount}{format_duration(elapsed_s)}"


def _make_progress(screen: Console) -> Progress:
    from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Task as RichTask
    from rich.text import Text

    class AmountColumn(ProgressColumn):
        """How much is done, of how much, how fast."""

        def render(self, task: RichTask) -> Text:
            unit = str(task.fields.get("unit", ""))
            total = f" of {format_amount(task.total, unit)}" if task.total else f" {unit}" if unit != "bytes" else ""
            done = format_amount(task.completed, unit if unit == "bytes" else "")
            rate = f", {format_amount(round(task.speed, 1), unit)}/s" if task.speed else ""
            return Text(f"{done}{total}{rate}")

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        AmountColumn(),
        TimeRemainingColumn(compact=True),
        console=screen,
        transient=True,
    )


def _is_number(value: object) -> bool:
    if isinstance(value, (int, float)):
        return True
    text = str(value).replace(",", "").removesuffix("%").strip()
    return bool(text) and text.lstrip("-+").replace(".", "", 1).isdigit()


def _print_columns(
    columns: Sequence[str], cells: Sequence[Sequence[str]], numeric: Sequence[bool], title: str | None
) -> None:
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    lines = [] if title is None else [title]
    for row in (columns, *cells):
        aligned = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        lines.append("  ".join(aligned).rstrip())
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
