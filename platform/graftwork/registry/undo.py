"""Taking back the steps of work that failed half-way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self


class Undo:
    """Steps that take back what was done, run in reverse if the block fails."""

    def __init__(self) -> None:
        self._steps: list[Callable[[], object]] = []

    def add(self, step: Callable[[], object]) -> None:
        """How to take back what comes next, or was just done."""
        self._steps.append(step)

    def forget(self) -> None:
        """All went well: keep what was done."""
        self._steps.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        for step in reversed(self._steps):
            try:
                step()
            except Exception as failure:  # the first error is the one to tell; this one goes with it
                if error is not None:
                    error.add_note(f"Cleaning up failed too: {failure}")
