"""What a checkpoint holds and how it is stored."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from graftwork.errors import PermanentError
from graftwork_jobs.train.checkpoint import (
    Checkpoint,
    TrainState,
    assign,
    is_whole,
    read_checkpoint,
    values_of,
    write_checkpoint,
)
from graftwork_jobs.train.epoch_policy import PhaseState

STATE = TrainState(
    phase=1,
    epochs_done=3,
    phase_ended=True,
    phase_state=PhaseState(best_epoch=2, best_value=0.1, learning_rate_scale=0.5),
    history=({"phase": "head", "epoch": 1, "loss": 0.25, "is_best": True},),
)


def _checkpoint() -> Checkpoint:
    # More than ten arrays: their order must not be that of "1", "10", "2".
    arrays = [np.full((2, 3), number, np.float32) for number in range(12)]
    return Checkpoint(
        state=STATE,
        model=[*arrays, np.array([1, 2**32 - 1], np.uint32)],
        best=arrays[:3],
        optimizer=[np.array(7, np.int64), np.array(0.5, np.float32)],
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """State, values, types and order survive."""
    written = _checkpoint()
    write_checkpoint(written, tmp_path)
    read = read_checkpoint(tmp_path)
    assert read.state == written.state
    for name in ("model", "best", "optimizer"):
        for one, other in zip(getattr(read, name), getattr(written, name), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


def test_nothing_in_a_checkpoint_is_pickled(tmp_path: Path) -> None:
    """Arrays load with pickle refused; all else is JSON."""
    write_checkpoint(_checkpoint(), tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".npz", ".npz", ".npz"]
    for path in tmp_path.glob("*.npz"):
        with np.load(path, allow_pickle=False) as stored:
            assert all(stored[name].dtype != object for name in stored.files)


@pytest.mark.parametrize("name", ["state.json", "model.npz", "best.npz", "optimizer.npz"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_cut_file_is_not_whole(tmp_path: Path, name: str, share: float) -> None:
    """A file that a crash left half written is noticed."""
    write_checkpoint(_checkpoint(), tmp_path)
    assert is_whole(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * share)])
    assert not is_whole(tmp_path)


def test_a_missing_file_is_not_whole(tmp_path: Path) -> None:
    """All four files must be there."""
    write_checkpoint(_checkpoint(), tmp_path)
    (tmp_path / "best.npz").unlink()
    assert not is_whole(tmp_path)


def test_another_format_is_refused(tmp_path: Path) -> None:
    """With what to do about it."""
    write_checkpoint(_checkpoint(), tmp_path)
    state = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps({**state, "format": 99}))
    with pytest.raises(PermanentError, match="--restart"):
        read_checkpoint(tmp_path)


def test_another_networks_values_are_refused() -> None:
    """Shapes must fit; Keras would otherwise broadcast or fail half way."""
    variables = [keras.Variable(np.zeros((2, 3), np.float32)), keras.Variable(np.zeros(3, np.float32))]
    assign(variables, [np.ones((2, 3), np.float32), np.ones(3, np.float32)])
    np.testing.assert_array_equal(values_of(variables)[1], np.ones(3))
    with pytest.raises(PermanentError, match="changed since the run began"):
        assign(variables, [np.zeros((2, 3), np.float32)])


def test_values_are_copies() -> None:
    """The best epoch's weights must not follow the variables."""
    variable = keras.Variable(np.zeros(3, np.float32))
    values = values_of([variable])
    variable.assign(np.ones(3, np.float32))
    np.testing.assert_array_equal(values[0], np.zeros(3))
