"""Repairs Ray Train's list of a run's checkpoints after a crash.

Ray overwrites the list in place: a driver killed within that write leaves half of it, and Ray then refuses to go on.
The checkpoints themselves are whole, and each says how far it is, so the list can be written anew.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from graftwork.whole_file import write_whole

_SNAPSHOT_FILE = "checkpoint_manager_snapshot.json"
_CHECKPOINT_FOLDERS = "checkpoint_*"


def mend_snapshot(run_dir: Path) -> None:
    """Make sure Ray can read its list of checkpoints, and drop checkpoints that were not written to the end.

    Args:
        run_dir: the run's folder in Ray Train's storage; need not exist.
    """
    snapshot = run_dir / _SNAPSHOT_FILE
    if not snapshot.is_file() or _listed(snapshot) is not None:
        return
    whole = _drop_incomplete(run_dir)
    if whole:
        write_whole(snapshot, json.dumps(_snapshot_of(whole)))
    else:
        snapshot.unlink()


def _listed(snapshot: Path) -> list[str] | None:
    """Names of the checkpoints in the list; None if it is damaged."""
    try:
        return [entry["checkpoint_dir_name"] for entry in json.loads(snapshot.read_text())["checkpoint_results"]]
    except (ValueError, KeyError, TypeError):
        return None


def _drop_incomplete(run_dir: Path) -> list[str]:
    """Names of the whole checkpoints, oldest first; others are deleted."""
    from graftwork_jobs.train.checkpoint import is_whole

    whole = []
    # The names hold the time they were made at, so they sort by age.
    for folder in sorted(path for path in run_dir.glob(_CHECKPOINT_FOLDERS) if path.is_dir()):
        if is_whole(folder):
            whole.append(folder.name)
        else:
            shutil.rmtree(folder)
    return whole


def _snapshot_of(names: list[str]) -> dict[str, object]:
    """Ray's format. Source: `_CheckpointManagerState` in ray/train/v2/_internal/execution/checkpoint."""
    import ray

    results = [{"version": 0, "checkpoint_dir_name": name, "metrics": {}} for name in names]
    return {
        "ray_version": ray.__version__,
        "checkpoint_results": results,
        "checkpoint_report_indices": list(range(len(names))),
        "latest_checkpoint_result": results[-1],
        "pending_training_results": [],
        "pending_validation_specs": [],
        "current_report_index": len(names),
        "validated_checkpoint_dir_names": [],
        "timed_out_validation_checkpoint_dir_names": [],
        "failed_validation_checkpoint_dir_names": [],
    }
