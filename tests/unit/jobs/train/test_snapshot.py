"""Repair of Ray Train's list of checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import ray
from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import _CheckpointManagerState

from graftwork_jobs.train.checkpoint import Checkpoint, TrainState, write_checkpoint
from graftwork_jobs.train.snapshot import mend_snapshot

OLDER, NEWER, TORN = (f"checkpoint_2026-01-01_00-00-0{second}.000000" for second in range(3))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Two whole checkpoints and one that a crash left without its last file."""
    values = [np.zeros(2, np.float32)]
    for name in (OLDER, NEWER, TORN):
        folder = tmp_path / name
        folder.mkdir()
        write_checkpoint(Checkpoint(state=TrainState(), model=values, best=values, optimizer=values), folder)
    (tmp_path / TORN / "state.json").unlink()
    return tmp_path


def test_half_a_list_is_written_anew(run_dir: Path) -> None:
    """The newest whole checkpoint is the one to go on from; the torn one is gone."""
    snapshot = run_dir / "checkpoint_manager_snapshot.json"
    snapshot.write_text('{"ray_version":"2.60.0","checkpoint_res')
    mend_snapshot(run_dir)
    state = _CheckpointManagerState.model_validate(json.loads(snapshot.read_text()))
    assert state.ray_version == ray.__version__
    assert [result.checkpoint_dir_name for result in state.checkpoint_results] == [OLDER, NEWER]
    assert state.latest_checkpoint_result is not None
    assert state.latest_checkpoint_result.checkpoint_dir_name == NEWER
    assert not (run_dir / TORN).exists()


def test_a_good_list_is_left_alone(run_dir: Path) -> None:
    """Nothing is touched while Ray can read its list."""
    snapshot = run_dir / "checkpoint_manager_snapshot.json"
    content = json.dumps({"checkpoint_results": [{"checkpoint_dir_name": OLDER}]})
    snapshot.write_text(content)
    mend_snapshot(run_dir)
    assert snapshot.read_text() == content
    assert (run_dir / TORN).exists()


def test_without_a_whole_checkpoint_the_run_begins_anew(run_dir: Path) -> None:
    """A list of nothing is removed: Ray starts from scratch."""
    for name in (OLDER, NEWER):
        (run_dir / name / "state.json").unlink()
    snapshot = run_dir / "checkpoint_manager_snapshot.json"
    snapshot.write_text("")
    mend_snapshot(run_dir)
    assert list(run_dir.iterdir()) == []


def test_a_run_that_never_began_needs_nothing(tmp_path: Path) -> None:
    """No folder, no work."""
    mend_snapshot(tmp_path / "never")
    assert list(tmp_path.iterdir()) == []
