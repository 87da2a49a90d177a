"""Shows the events of a running training: a bar for each phase, a line for each epoch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from graftwork.progress import Reporter
from graftwork_jobs.features.usage import ENGINE_NAMES

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from graftwork.progress import Task
    from graftwork_jobs.events import Event


class TrainingView:
    """Takes events in order and tells a reporter."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._bar: AbstractContextManager[Task] | None = None
        self._task: Task | None = None
        self._done = 0.0
        self._steps = 1

    def show(self, event: Event) -> None:
        """Take one event; kinds it does not know are left alone."""
        match event["kind"]:
            case "phase_started":
                self._start(event)
            case "progress":
                self._move_to((event["epoch"] - 1) * self._steps + event["step"])
            case "epoch":
                self._move_to(event["epoch"] * self._steps)
                self._reporter.say(epoch_line(event))
            case "phase_finished":
                self.close()
            case "features":
                self._reporter.say(features_line(event))
            case "preflight":
                self._reporter.say(preflight_line(event))
            case "replicated":
                self._reporter.say(replicated_line(event))
            case "unfrozen":
                self._reporter.say(unfrozen_line(event))
            case "warning":
                self._reporter.warn(event["message"])

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
        self._bar = self._task = None

    def _start(self, event: Event) -> None:
        # Workers that were restarted announce their phase again.
        self.close()
        self._steps = event["steps"]
        self._done = 0.0
        self._bar = self._reporter.task(f"phase {event['phase']}", event["epochs"] * event["steps"], "steps")
        self._task = self._bar.__enter__()

    def _move_to(self, step: float) -> None:
        if self._task is not None and step > self._done:
            self._task.advance(step - self._done)
            self._done = step


@contextmanager
def training_view(reporter: Reporter) -> Iterator[TrainingView]:
    """A view whose bar is taken away at the end of the block."""
    view = TrainingView(reporter)
    try:
        yield view
    finally:
        view.close()


def epoch_line(event: dict[str, Any]) -> str:
    """One epoch in one line."""
    line = (
        f"{event['phase']} {event['epoch']}/{event['epochs']}  "
        f"{'  '.join(_figure(name, event[name]) for name in event['figures'])}  "
        f"{event['images_per_s']:.0f} examples/s"
    )
    if event["is_best"]:
        line += "  best so far"
    if event["learning_rate_lowered"]:
        line += "  (learning rate lowered)"
    if event["stopped"]:
        line += "  (no more progress: phase ends)"
    return line


def _figure(name: str, value: float) -> str:
    return f"{name} {value:.4f}" if name.endswith("loss") else f"{name} {value:.3f}"


def features_line(event: Event) -> str:
    """What became of the features of a frozen trunk, in one line."""
    what = f"{event['examples']:,} {event['split']} examples at {event['cut']}"
    if event["views"]:
        what = f"{event['views']} views of {what}"
    hits, entries = event["hits"], event["entries"]
    if hits == entries:
        return f"features of {what}: taken from the store"
    part = f", {hits} of {entries} views from the store" if hits else ""
    engine = f" on {ENGINE_NAMES[event['engine']]} ({event['engine_reason']})"
    return f"features of {what}: computed once in {event['seconds']:.1f} s{engine}{part}"


def preflight_line(event: Event) -> str:
    """That the workers of a phase compute what one does, in one line."""
    return (
        f"preflight of phase {event['phase']}: {event['workers']} workers compute what one does "
        f"(compared over {event['updates']} updates in {event['seconds']:.1f} s)"
    )


def replicated_line(event: Event) -> str:
    """That the workers of a phase exchange nothing, in one line."""
    return f"phase {event['phase']} is small: each of {event['workers']} workers computes all of it, as one would"


def unfrozen_line(event: Event) -> str:
    """That one more block trains from now on, in one line."""
    trains = f"trains from {event['layer']} ({event['parameters']:,} parameters)"
    return f"{event['phase']}: {trains} from epoch {event['epoch']} on"
