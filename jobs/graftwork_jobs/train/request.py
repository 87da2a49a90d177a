"""What goes into a training run and what comes out of it; travels between driver and workers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graftwork.preprocess.inputs import InputSpec
from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork_jobs.train.driver_files import DriverFiles


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What to train.

    Attributes:
        job: the spec.
        base_dir: where relative paths of the spec start.
        run_dir: folder of the run; checkpoints, predictions and events go into it.
        index_file: the data set's index.
        input: what every example is brought to.
        weights_dir: cache of pre-trained weights.
        data_cache_dir: cache of remote pictures.
        features_dir: store of features of frozen trunks.
        run_name: unique name of the run; a second call with the same one goes on where the first was interrupted.
        writes_checkpoints: whether each epoch is kept for going on after an interruption.
        storage: where Ray Train keeps checkpoints, in a folder named after the run: a path or URI that all machines
            reach (pyarrow's, such as `s3://bucket/folder`); None for a folder of the run, for one machine.
        driver_node: Ray's name of the machine whose paths `run_dir` and `index_file` are; `train` fills it in.
    """

    job: FineTuneJob
    base_dir: Path
    run_dir: Path
    index_file: Path
    input: InputSpec
    weights_dir: Path
    data_cache_dir: Path
    features_dir: Path
    run_name: str
    writes_checkpoints: bool = True
    storage: str | None = None
    driver_node: str = ""

    @property
    def checkpoints_dir(self) -> Path:
        """Where Ray Train keeps the run's checkpoints when no other storage is named."""
        return self.run_dir / "checkpoints"

    @property
    def driver_files(self) -> DriverFiles:
        """The run's files, from wherever a worker runs."""
        return DriverFiles(node_id=self.driver_node)

    @property
    def predictions_dir(self) -> Path:
        """Where the predictions of the test sets go."""
        return self.run_dir / "predictions"

    @property
    def weights_file(self) -> Path:
        """Final weights of the network."""
        return self.run_dir / "final.weights.h5"

    @property
    def result_file(self) -> Path:
        """Written last: a run that has it is finished."""
        return self.run_dir / "train_result.json"

    @property
    def events_file(self) -> Path:
        """The run's event log."""
        return self.run_dir / "events.jsonl"


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What came out.

    Attributes:
        weights_file: final weights of the network (`.weights.h5`): those of the last phase's best epoch.
        history: figures of every epoch: phase (its name), epoch (from 1), loss and the
            target's figures (such as accuracy), the same of validation (val_loss, val_accuracy),
            learning_rate, seconds, images_per_s, is_best.
        predictions: by test set, and `validation`: an npz
            with predictions (n, outputs) float32, targets (n, ...) and rows (n,) int64.
        trained_phases: for each phase `name`, `epochs` that ran, `best_epoch` (from 1) and `stopped_early`.
        timings: seconds by stage.
    """

    weights_file: Path
    history: tuple[Mapping[str, Any], ...]
    predictions: Mapping[str, Path]
    trained_phases: tuple[Mapping[str, Any], ...]
    timings: Mapping[str, float]

    def to_json(self) -> str:
        """The result as JSON."""
        return json.dumps(
            {
                "weights_file": str(self.weights_file),
                "history": self.history,
                "predictions": {name: str(path) for name, path in self.predictions.items()},
                "trained_phases": self.trained_phases,
                "timings": self.timings,
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> TrainResult:
        """Read back what `to_json` wrote."""
        content = json.loads(text)
        return cls(
            weights_file=Path(content["weights_file"]),
            history=tuple(content["history"]),
            predictions={name: Path(path) for name, path in content["predictions"].items()},
            trained_phases=tuple(content["trained_phases"]),
            timings=content["timings"],
        )
