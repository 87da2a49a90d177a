"""How events become bars and lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from graftwork.progress import Task
from graftwork_jobs.train.progress_view import training_view

EPOCH = {
    "kind": "epoch",
    "phase": "head",
    "epochs": 2,
    "loss": 0.5,
    "accuracy": 0.75,
    "val_loss": 0.6,
    "val_accuracy": 0.7,
    "images_per_s": 123.4,
    "is_best": True,
    "learning_rate_lowered": False,
    "stopped": False,
    "figures": ["loss", "accuracy", "val_loss", "val_accuracy"],
}


class RecordingReporter:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []
        self.bars: list[dict[str, Any]] = []

    def say(self, message: str) -> None:
        self.lines.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    @contextmanager
    def task(self, description: str, total: float | None, unit: str = "") -> Iterator[Task]:
        bar: dict[str, Any] = {"description": description, "total": total, "done": 0.0, "open": True}
        self.bars.append(bar)

        class Bar:
            def advance(self, amount: float = 1) -> None:
                bar["done"] += amount

        yield Bar()
        bar["open"] = False


def _show(events: list[dict[str, Any]]) -> RecordingReporter:
    reporter = RecordingReporter()
    with training_view(reporter) as view:
        for event in events:
            view.show(event)
    return reporter


STARTED = {"kind": "phase_started", "phase": "head", "epochs": 2, "steps": 10}


def test_bar_follows_the_steps_of_all_epochs() -> None:
    """One bar a phase, in steps over all its epochs."""
    reporter = _show(
        [
            STARTED,
            {"kind": "progress", "phase": "head", "epoch": 1, "step": 4, "steps": 10},
            {**EPOCH, "epoch": 1},
            {"kind": "progress", "phase": "head", "epoch": 2, "step": 5, "steps": 10},
        ]
    )
    assert reporter.bars == [{"description": "phase head", "total": 20, "done": 15.0, "open": False}]


def test_bar_does_not_run_backwards_after_a_restart() -> None:
    """Restarted workers announce the phase again and repeat an epoch: a new bar, each step counted once."""
    progress = {"kind": "progress", "phase": "head", "epoch": 2, "step": 5, "steps": 10}
    reporter = _show(
        [STARTED, progress, STARTED, {**progress, "epoch": 1}, {**EPOCH, "epoch": 1}, {**EPOCH, "epoch": 2}]
    )
    assert [(bar["done"], bar["open"]) for bar in reporter.bars] == [(15.0, False), (20.0, False)]


def test_epoch_is_one_line_with_its_figures() -> None:
    """Loss, accuracy, their validation counterparts, speed."""
    (line,) = _show([STARTED, {**EPOCH, "epoch": 1}]).lines
    for part in (
        "head 1/2",
        "loss 0.5000",
        "accuracy 0.750",
        "val_loss 0.6000",
        "val_accuracy 0.700",
        "123 examples/s",
    ):
        assert part in line


@pytest.mark.parametrize(("key", "words"), [("stopped", "phase ends"), ("learning_rate_lowered", "lowered")])
def test_decisions_are_told(key: str, words: str) -> None:
    """A person sees why the learning rate fell or the phase ended."""
    (line,) = _show([STARTED, {**EPOCH, "epoch": 1, key: True}]).lines
    assert words in line


def test_warnings_are_passed_on() -> None:
    """A worker's warning reaches the person."""
    assert _show([{"kind": "warning", "message": "slow disk"}]).warnings == ["slow disk"]
