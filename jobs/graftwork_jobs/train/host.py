"""What the training recipe asks of whatever runs it: its place among the workers, reports, checkpoints."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from graftwork.spec.job_training import KerasBackend
from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.distributed.jax_collectives import JaxCollectives
from graftwork_jobs.distributed.shared_memory import can_share_memory, share_memory
from graftwork_jobs.features.extract import NodeShare
from graftwork_jobs.keras_setup import gpu_capabilities


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

    def report(self, record: Mapping[str, Any], write_checkpoint: Callable[[Path], None] | None) -> None:
        """Tell an epoch's figures and commit a checkpoint. A barrier: every worker calls it.

        Args:
            record: the figures.
            write_checkpoint: writes it into a new, empty folder; None on the workers that write none.
        """
        ...

    def is_preempted(self) -> bool:
        """Whether a worker's machine has announced its end; the same on all workers, each of which must ask."""
        ...

    def latest_checkpoint(self) -> AbstractContextManager[Path | None]:
        """Folder of the latest committed checkpoint, inside a `with` block; None if there is none."""
        ...


class RayTrainHost:
    """A worker of a Ray Train group."""

    def __init__(self, *, backend: KerasBackend, shared_storage: bool) -> None:
        """Find this worker's place.

        Args:
            backend: what Keras runs on.
            shared_storage: whether checkpoints travel to another machine; training goes on meanwhile, and a
                checkpoint counts once all of it has arrived.
        """
        import ray.train

        context, modes = ray.train.get_context(), ray.train.CheckpointUploadMode
        self.node = NodeShare(
            rank=context.get_local_rank(), world=context.get_local_world_size(), machine=context.get_node_rank()
        )
        kind = JaxCollectives if backend == "jax" else Collectives
        self.collectives = kind(rank=context.get_world_rank(), world=context.get_world_size())
        is_together = 1 < self.node.world == self.collectives.world and can_share_memory()
        if is_together and backend == "tensorflow" and not gpu_capabilities():
            self.collectives = replace(self.collectives, memory=share_memory(self.collectives))
        self._shared_storage = shared_storage
        self._upload_mode = modes.ASYNC if shared_storage else modes.SYNC

    def report(self, record: Mapping[str, Any], write_checkpoint: Callable[[Path], None] | None) -> None:
        """Report through Ray Train, which copies the checkpoint to its place and deletes it here.

        What a crash before that leaves goes with Ray's own folder on this machine.
        """
        import ray.train

        if write_checkpoint is None:
            ray.train.report(dict(record))
            return
        own_folder = Path(ray.train.get_context().get_storage().local_working_directory)
        own_folder.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="checkpoint-", dir=own_folder))
        write_checkpoint(folder)
        ray.train.report(
            dict(record),
            checkpoint=ray.train.Checkpoint.from_directory(folder),
            checkpoint_upload_mode=self._upload_mode,
            delete_local_checkpoint_after_upload=True,
        )

    def is_preempted(self) -> bool:
        """What the cluster announced; a machine of one's own announces nothing."""
        import ray.train

        return self._shared_storage and ray.train.get_preemption_info() is not None

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
