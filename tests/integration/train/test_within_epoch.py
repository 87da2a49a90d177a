"""A run cut off within an epoch goes on there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.features.extract import NodeShare
from graftwork_jobs.train.driver_files import this_node
from tests.integration.train.small_jobs import PHASES, SmallData, small_request

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graftwork_jobs.train.checkpoint import TrainState
    from graftwork_jobs.train.request import TrainRequest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]

# 27 updates an epoch, each a call of its own however fast the machine is; the first look comes after 16 of them.
JOB: dict[str, Any] = {
    "phases": [{**phase, "epochs": 2} for phase in PHASES],
    "augment": [{"flip": "horizontal"}],
    "head": {"dropout": 0.3},
    "training": {"batchSize": 2, "batchNorm": "train", "gradientAccumulation": 2, "stepsPerExecution": 2, "seed": 5},
    "scaling": {"workers": 1, "checkpointEverySeconds": 1e-6},
}


class _CutOffError(Exception):
    """The process ends here."""


@dataclass(kw_only=True)
class _CuttingHost:
    """A worker that is alone, and cut off right after a given checkpoint within an epoch."""

    folder: Path
    ends_at: tuple[str, int] | None = None
    collectives: Collectives = field(default_factory=lambda: Collectives(rank=0, world=1))
    node: NodeShare = field(default_factory=lambda: NodeShare(rank=0, world=1))

    def report(self, record: Mapping[str, Any], write_checkpoint: Callable[[Path], None] | None) -> None:
        """Keep the checkpoint."""
        assert write_checkpoint is not None
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        write_checkpoint(self.folder)
        if "step" in record and (record["phase"], record["epoch"]) == self.ends_at:
            raise _CutOffError

    def is_preempted(self) -> bool:
        """Never."""
        return False

    @contextmanager
    def latest_checkpoint(self) -> Iterator[Path | None]:
        """The one kept last."""
        yield self.folder if self.folder.is_dir() else None


def _train(request: TrainRequest, host: _CuttingHost) -> tuple[list[NDArray[Any]], TrainState]:
    import keras

    from graftwork_jobs.train.worker import train_phases

    keras.utils.clear_session()
    run, state, _ = train_phases(request, host)
    return [np.asarray(variable.value) for variable in run.network.model.variables], state


def test_going_on_within_an_epoch_changes_nothing(small_data: SmallData, local_ray: Path, tmp_path: Path) -> None:
    """Cut off within the last epoch of one phase and the first of the next: the same weights and figures."""
    request = replace(small_request(small_data, tmp_path / "run", **JOB), driver_node=this_node())
    expected, undisturbed = _train(request, _CuttingHost(folder=tmp_path / "undisturbed"))
    cut = _CuttingHost(folder=tmp_path / "cut")
    for cut.ends_at in (("head", 2), ("tune", 1)):
        with pytest.raises(_CutOffError):
            _train(request, cut)
    cut.ends_at = None
    found, resumed = _train(request, cut)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for after, before in zip(resumed.history, undisturbed.history, strict=True):
        assert _without_times(after) == pytest.approx(_without_times(before), rel=1e-12)


def _without_times(record: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in record.items() if name not in {"phase", "seconds", "images_per_s"}}
