"""What a checkpoint holds and how it is stored: arrays as npz, everything else as JSON. Nothing is pickled.

A checkpoint stands for "so many epochs of this phase, and so many steps of the next, are done"; a resumed run goes on
with what follows.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graftwork.errors import PermanentError
from graftwork_jobs.train.epoch_policy import PhaseState

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

_STATE_FILE = "state.json"
_FORMAT = 1

Arrays = list["NDArray[Any]"]


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """How far a run is.

    Attributes:
        phase: phase the last finished epoch belongs to, from 0.
        epochs_done: finished epochs of that phase.
        phase_ended: no further epoch of that phase follows.
        phase_state: what the phase remembers of its epochs.
        history: figures of every finished epoch, in order.
        steps_done: steps of the epoch that follows; always whole weight updates.
        tally: what these steps counted, over all workers.
        seconds: how long they took.
    """

    phase: int = 0
    epochs_done: int = 0
    phase_ended: bool = False
    phase_state: PhaseState = field(default_factory=PhaseState)
    history: tuple[Mapping[str, Any], ...] = ()
    steps_done: int = 0
    tally: tuple[float, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything needed to go on.

    Attributes:
        state: how far the run is.
        model: all variables of the network, seeds included.
        best: the same at the phase's best epoch.
        optimizer: all variables of the phase's optimizer.
    """

    state: TrainState
    model: Arrays
    best: Arrays
    optimizer: Arrays


def values_of(variables: Sequence[keras.Variable]) -> Arrays:
    """Copies of variables' values."""
    return [np.array(variable.numpy()) for variable in variables]


def assign(variables: Sequence[keras.Variable], values: Arrays) -> None:
    """Set variables to stored values.

    Raises:
        PermanentError: the stored values belong to another network.
    """
    shapes = [tuple(variable.shape) for variable in variables]
    stored = [value.shape for value in values]
    if shapes != stored:
        raise PermanentError(
            f"checkpoint: received {len(stored)} arrays, expected {len(shapes)} of the network's shapes. "
            "The job changed since the run began; start over with --restart."
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def write_checkpoint(checkpoint: Checkpoint, directory: Path) -> None:
    """Write a checkpoint into an existing empty directory; the state file comes last and marks it complete."""
    for name in ("model", "best", "optimizer"):
        _write_arrays(directory / f"{name}.npz", getattr(checkpoint, name))
    state = {"format": _FORMAT, **asdict(checkpoint.state)}
    (directory / _STATE_FILE).write_text(json.dumps(state))


def read_checkpoint(directory: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        PermanentError: it was written by another version of Graftwork.
    """
    content = json.loads((directory / _STATE_FILE).read_text())
    if content.pop("format") != _FORMAT:
        raise PermanentError(
            f"{directory}: received a checkpoint of another format, expected format {_FORMAT}. "
            "Start over with --restart, or go on with the version of Graftwork that wrote it."
        )
    state = TrainState(
        **{
            **content,
            "phase_state": PhaseState(**content["phase_state"]),
            "history": tuple(content["history"]),
            "tally": tuple(content.get("tally", ())),
        }
    )
    arrays = {name: _read_arrays(directory / f"{name}.npz") for name in ("model", "best", "optimizer")}
    return Checkpoint(state=state, **arrays)


def is_whole(directory: Path) -> bool:
    """Whether a checkpoint was written to its end."""
    try:
        read_checkpoint(directory)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return False
    return True


def _write_arrays(path: Path, arrays: Arrays) -> None:
    with path.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **{f"{position:05d}": array for position, array in enumerate(arrays)})


def _read_arrays(path: Path) -> Arrays:
    # Opened here: NumPy leaves a file that it cannot read open.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
        return [stored[name] for name in sorted(stored.files)]
