"""What one worker holds during a run, whatever the phase."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from graftwork_jobs.data.batch_plan import BatchPlan
from graftwork_jobs.data.index import DatasetIndex
from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.train.checkpointing import Checkpointing
from graftwork_jobs.train.driver_files import DriverFiles
from graftwork_jobs.train.host import Host
from graftwork_jobs.train.request import TrainRequest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graftwork_jobs.data.input_batches import InputBatches
    from graftwork_jobs.model.network import Network
    from graftwork_jobs.targets.base import Target
    from graftwork_jobs.train.evaluate import Evaluator


_PULSE_EVERY_S = 5.0


@dataclass(kw_only=True)
class RunContext:
    """What one worker holds during a run."""

    request: TrainRequest
    host: Host
    index: DatasetIndex
    collectives: Collectives
    plan: BatchPlan
    network: Network
    evaluator: Evaluator
    target: Target
    row_weights: NDArray[np.float32] | None
    inputs: InputBatches
    checkpointing: Checkpointing
    _pulsed: float = field(default_factory=time.monotonic)

    def pulse(self) -> None:
        """Show now and then that work goes on where it has no figures to tell."""
        if time.monotonic() - self._pulsed >= _PULSE_EVERY_S:
            self._pulsed = time.monotonic()
            self.tell("pulse")

    def tell(self, kind: str, **fields: Any) -> None:
        """Append an event, on rank 0."""
        if self.collectives.rank == 0:
            self.files.append_event(self.request.events_file, kind, **fields)

    @property
    def files(self) -> DriverFiles:
        """The run's files on the driver's machine."""
        return self.request.driver_files
