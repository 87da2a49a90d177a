"""What a worker that is alone runs in: this very process, without Ray, with checkpoints in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.features.extract import NodeShare
from graftwork_jobs.train.request import TrainRequest
from graftwork_jobs.train.run_context import RunContext
from graftwork_jobs.train.worker import train_phases


class KilledError(Exception):
    """Stands for `kill -9`: nothing after it runs."""


@dataclass(kw_only=True)
class LonelyHost:
    """The only worker; keeps checkpoints in a folder, and dies after some of them if asked to."""

    folder: Path
    dies_after: tuple[int, ...] = ()
    kept: list[Path] = field(default_factory=list)
    collectives: Collectives = field(default_factory=lambda: Collectives(rank=0, world=1))
    node: NodeShare = field(default_factory=lambda: NodeShare(rank=0, world=1))

    def report(self, record: Mapping[str, Any], write_checkpoint: Callable[[Path], None] | None) -> None:
        assert write_checkpoint is not None
        self.kept.append(self.folder / f"{len(self.kept)}")
        self.kept[-1].mkdir(parents=True)
        write_checkpoint(self.kept[-1])
        if len(self.kept) in self.dies_after:
            raise KilledError

    def is_preempted(self) -> bool:
        return False

    @contextmanager
    def latest_checkpoint(self) -> Iterator[Path | None]:
        yield self.kept[-1] if self.kept else None


def train_alone(request: TrainRequest, host: LonelyHost) -> tuple[RunContext, list[dict[str, Any]]]:
    """The run with its final network, and the figures of its epochs without times."""
    keras.utils.clear_session()
    run, state, _ = train_phases(request, host)
    timeless = [
        {name: value for name, value in record.items() if name not in {"seconds", "images_per_s"}}
        for record in state.history
    ]
    return run, timeless
