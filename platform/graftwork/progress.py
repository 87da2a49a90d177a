"""How long work tells a person how far it is, without knowing whether anyone looks.

Code that takes long accepts a `Reporter`; the command line passes one that draws bars, tests pass `SilentReporter`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of work with a known size."""

    def advance(self, amount: float = 1) -> None:
        """That much more is done."""


class Reporter(Protocol):
    """Takes what is to be told."""

    def say(self, message: str) -> None:
        """One line, now."""

    def warn(self, message: str) -> None:
        """One line that a person should not miss."""

    @contextmanager
    def task(self, description: str, total: float | None, unit: str = "") -> Iterator[Task]:
        """A piece of work: `with reporter.task("scan", 100, "pictures") as task: task.advance()`."""
        ...


class _SilentTask:
    def advance(self, amount: float = 1) -> None:
        """Say nothing."""


class SilentReporter:
    """Says nothing."""

    def say(self, message: str) -> None:
        """Say nothing."""

    def warn(self, message: str) -> None:
        """Say nothing."""

    @contextmanager
    def task(self, description: str, total: float | None, unit: str = "") -> Iterator[Task]:
        """Say nothing."""
        yield _SilentTask()
