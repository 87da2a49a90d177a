"""What the training recipe asks of whatever runs it: its place among the workers, reports, checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.features.extract import NodeShare


class Host(Protocol):
    """One worker's surroundings."""

    @property
    def collectives(self) -> Collectives:
        """This worker among all."""
        ...

    @property
    def node(self) -> NodeShare:
        """This worker among those on its machine."""
        ...

    def report(self, record: Mapping[str, Any], checkpoint: Path | None) -> None:
        """Tell an epoch's figures and commit the checkpoint in a folder, if any. A barrier: every worker calls it."""
        ...

    def latest_checkpoint(self) -> AbstractContextManager[Path | None]:
        """Folder of the latest committed checkpoint, inside a `with` block; None if there is none."""
        ...


class RayTrainHost:
    """A worker of a Ray Train group."""

    def __init__(self) -> None:
        import ray.train

        context = ray.train.get_context()
        self.collectives = Collectives(rank=context.get_world_rank(), world=context.get_world_size())
        self.node = NodeShare(rank=context.get_local_rank(), world=context.get_local_world_size())

    def report(self, record: Mapping[str, Any], checkpoint: Path | None) -> None:
        """Report through Ray Train, which copies the checkpoint to its place."""
        import ray.train

        stored = None if checkpoint is None else ray.train.Checkpoint.from_directory(checkpoint)
        ray.train.report(dict(record), checkpoint=stored)

    @contextmanager
    def latest_checkpoint(self) -> Iterator[Path | None]:
        """What Ray Train committed last."""
        import ray.train

        stored = ray.train.get_checkpoint()
        if stored is None:
            yield None
            return
        with stored.as_directory() as folder:
            yield Path(folder)
