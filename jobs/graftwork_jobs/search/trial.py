"""What a Tune trial's process runs: the training recipe on one worker, in the process itself.

A Ray Train group of its own for each trial would cost its start-up each time (a controller, a worker, TensorFlow), many
times the training of a head. The same recipe runs here instead, and Tune uses the process again for the next trial.
Results do not depend on the number of workers, so one is enough.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graftwork.errors import GraftworkError
from graftwork_jobs.distributed.collectives import ALONE
from graftwork_jobs.distributed.worker_process import WorkerProcess
from graftwork_jobs.train.request import TrainRequest

READY = "ready"
"""Key of a trial's first report: its process is set up."""
FAILURE = "failure"
"""Key of the last report of a trial that cannot go on, with the reason."""
EPOCH = "epoch_record"
"""Key of an epoch's report, with its figures as JSON: Tune would mix them with its own."""

# Whether this process is set up; Tune runs one trial after another in it.
_set_up: list[bool] = []


def run_trial(config: Mapping[str, Any], *, requests: Sequence[TrainRequest], process: WorkerProcess) -> None:
    """Train one trial; reports every epoch, and ends when Tune says so.

    Args:
        config: `trial`: which of the requests.
        requests: of all trials.
        process: what this process is to be like.
    """
    from ray import tune

    _prepare_process(process)
    # Answered once the trial may begin.
    tune.report({READY: time.time()})
    from graftwork_jobs.train.worker import train_phases

    request = requests[config["trial"]]
    request.run_dir.mkdir(parents=True, exist_ok=True)
    try:
        train_phases(request, _AloneOnTune())
    except GraftworkError as error:
        tune.report({FAILURE: str(error)})


class _AloneOnTune:
    """A worker that is alone in a Tune trial; its reports go to Tune. Meets `graftwork_jobs.train.host.Host`."""

    collectives = ALONE

    def __init__(self) -> None:
        # Imports Keras, whose backend is chosen when the process is set up.
        from graftwork_jobs.features.extract import NodeShare

        self.node = NodeShare(rank=0, world=1)

    def report(self, record: Mapping[str, Any], write_checkpoint: Callable[[Path], None] | None) -> None:
        """Tell Tune of an epoch; does not return if Tune ends the trial."""
        from ray import tune

        tune.report({EPOCH: json.dumps(record)})

    def is_preempted(self) -> bool:
        """Never: a trial that is cut off begins anew."""
        return False

    @contextmanager
    def latest_checkpoint(self) -> Iterator[Path | None]:
        """None: a trial that is cut off begins anew."""
        yield None


def _prepare_process(process: WorkerProcess) -> None:
    """Load Keras once a process; forget what the trial before left."""
    if not _set_up:
        process.set_up()
        process.check_devices()
        _set_up.append(True)
    import keras

    # Names that Keras makes up count on, and the names of layers are part of what names features.
    keras.utils.clear_session()
