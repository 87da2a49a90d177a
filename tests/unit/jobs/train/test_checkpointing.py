"""When checkpoints are due, and that workers agree on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.features.extract import NodeShare
from graftwork_jobs.train.checkpoint import Checkpoint, TrainState, read_checkpoint
from graftwork_jobs.train.checkpointing import Checkpointing
from tests.unit.jobs.distributed.worlds import run_world

CHECKPOINT = Checkpoint(state=TrainState(steps_done=3, tally=(1.0, 2.0)), model=[np.ones(2)], best=[], optimizer=[])


@dataclass(kw_only=True)
class RecordingHost:
    """Keeps what it is told; meets `graftwork_jobs.train.host.Host`."""

    folder: Path
    collectives: Collectives = field(default_factory=lambda: Collectives(rank=0, world=1))
    node: NodeShare = field(default_factory=lambda: NodeShare(rank=0, world=1))
    preempted: bool = False
    told: list[tuple[dict[str, Any], Checkpoint | None]] = field(default_factory=list)

    def report(self, record: Mapping[str, Any], write_checkpoint: Callable[[Path], None] | None) -> None:
        """Write and read back."""
        if write_checkpoint is None:
            self.told.append((dict(record), None))
            return
        write_checkpoint(self.folder)
        self.told.append((dict(record), read_checkpoint(self.folder)))

    def is_preempted(self) -> bool:
        """As set."""
        return self.preempted

    @contextmanager
    def latest_checkpoint(self) -> Iterator[Path | None]:
        """None."""
        yield None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock whose only entry is the time, in seconds."""
    now = [0.0]
    monkeypatch.setattr("graftwork_jobs.train.checkpointing.time.monotonic", lambda: now[0])
    return now


def _due_at(clock: list[float], host: RecordingHost, *, every_s: float, update_s: float, updates: int) -> list[float]:
    """When checkpoints came due in an epoch of steady updates; each is committed."""
    watch, due = Checkpointing(host, every_s=every_s, writes=True), []
    watch.begin_epoch()
    for update in range(1, updates + 1):
        clock[0] += update_s
        if watch.is_due(update):
            due.append(round(clock[0], 6))
            watch.report({"at": update}, lambda: CHECKPOINT)
    return due


def test_due_every_so_often(clock: list[float], tmp_path: Path) -> None:
    """Asked every two seconds, a checkpoint a minute comes at most two seconds late."""
    due = _due_at(clock, RecordingHost(folder=tmp_path), every_s=60, update_s=0.1, updates=3000)
    assert len(due) == 4
    gaps = np.diff([0.0, *due])
    assert ((gaps >= 60) & (gaps <= 62.1)).all()


def test_slow_updates_are_asked_after_each(clock: list[float], tmp_path: Path) -> None:
    """Updates longer than the two seconds: after the first sixteen, none is missed."""
    due = _due_at(clock, RecordingHost(folder=tmp_path), every_s=60, update_s=10, updates=30)
    assert due == [160, 220, 280]


def test_an_announced_end_is_answered_once(clock: list[float], tmp_path: Path) -> None:
    """Long before the interval, and not again for the same announcement."""
    host = RecordingHost(folder=tmp_path, preempted=True)
    assert len(_due_at(clock, host, every_s=1000, update_s=0.1, updates=500)) == 1


def test_short_epochs_share_a_checkpoint(clock: list[float], tmp_path: Path) -> None:
    """Half a second each: one of four is committed. Writing that took a second: then one in ten seconds."""
    host = RecordingHost(folder=tmp_path)
    watch = Checkpointing(host, every_s=300, writes=True)

    def epochs(number: int) -> list[float]:
        before = len(host.told)
        for _ in range(number):
            clock[0] += 0.5
            watch.after_epoch({"at": clock[0]}, make)
        return [float(record["at"]) for record, _ in host.told[before:]]

    cost_s = 0.0

    def make() -> Checkpoint:
        clock[0] += cost_s
        return CHECKPOINT

    assert epochs(8) == [2, 4]
    cost_s = 1.0
    assert epochs(4) == [6]
    cost_s = 0.0
    assert epochs(22) == [17]


def test_an_epoch_is_never_left_out_for_longer_than_asked(clock: list[float], tmp_path: Path) -> None:
    """Where the job says a tenth of a second, each of half a second is committed."""
    host = RecordingHost(folder=tmp_path)
    watch = Checkpointing(host, every_s=0.1, writes=True)
    for _ in range(3):
        clock[0] += 0.5
        watch.after_epoch({}, lambda: CHECKPOINT)
    assert len(host.told) == 3


def test_what_is_committed_comes_back(tmp_path: Path) -> None:
    """Position within the epoch and what was counted so far included."""
    host = RecordingHost(folder=tmp_path)
    Checkpointing(host, every_s=1, writes=True).report({"epoch": 1}, lambda: CHECKPOINT)
    (record, stored), *others = host.told
    assert not others
    assert record == {"epoch": 1}
    assert stored is not None
    assert stored.state == CHECKPOINT.state


def test_without_checkpoints_only_figures_are_reported(tmp_path: Path) -> None:
    """Nothing is collected."""
    host = RecordingHost(folder=tmp_path)
    watch = Checkpointing(host, every_s=0.001, writes=False)
    assert not watch.is_due(1000)
    watch.report({"epoch": 1}, lambda: pytest.fail("collected"))
    assert host.told == [({"epoch": 1}, None)]


def test_workers_agree_whatever_their_clocks_say(tmp_path: Path) -> None:
    """Rank 0's clock decides, when to checkpoint and when to ask again."""

    def work(collectives: Collectives) -> list[bool]:
        host = RecordingHost(folder=tmp_path, collectives=collectives)
        # Only rank 0's interval has passed.
        watch = Checkpointing(host, every_s=1e-9 if collectives.rank == 0 else 1e9, writes=True)
        watch.begin_epoch()
        return [watch.is_due(update) for update in (8, 16, 17)]

    first, second = run_world(2, work)
    assert first == second
    assert first[:2] == [False, True]
