"""The event log of a run: one JSON object a line, appended by whoever has news, read by whoever shows them.

Only the newest line can be incomplete (a process was killed while writing it); readers skip it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Event = dict[str, Any]


def append_event(path: Path, kind: str, **fields: Any) -> None:
    """Append one event.

    Args:
        path: the event log.
        kind: what happened: `phase_started`, `progress`, `epoch`, `phase_finished`, `warning`, `stage`.
        fields: what there is to say about it, JSON-ready.
    """
    line = json.dumps({"time": round(time.time(), 3), "kind": kind, **fields}) + "\n"
    # One write of one line to a file opened for appending: lines of several processes do not mix.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def read_events(path: Path) -> list[Event]:
    """All complete events so far; none if the log does not exist yet."""
    return list(EventTail(path).new_events())


@dataclass(kw_only=False)
class EventTail:
    """Reads a growing event log; each call of `new_events` gives what came since the last."""

    path: Path
    position: int = field(default=0)

    def skip_to_end(self) -> None:
        """Leave out everything written so far."""
        self.position = self.path.stat().st_size if self.path.exists() else 0

    def new_events(self) -> Iterator[Event]:
        """Complete lines added since the last call."""
        if not self.path.exists():
            return
        with self.path.open("rb") as stream:
            stream.seek(self.position)
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                self.position += len(line)
                try:
                    yield json.loads(line)
                except ValueError:
                    # A writer was killed within this line and another appended after it.
                    continue
