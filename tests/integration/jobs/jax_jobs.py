"""Small jobs on JAX, wherever it computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graftwork.bundle.directory import open_bundle
from tests.integration.jobs.graft_home import Ended, GraftHome
from tests.integration.jobs.tiny_jobs import write_job

JAX_TRAINING: dict[str, Any] = {"backend": "jax", "batchSize": 4, "seed": 5}


def run_on_jax(graft_home: GraftHome, name: str, **spec: Any) -> Ended:
    """`graft run -o json` of a job, to its good end; keyword arguments replace sections of the spec."""
    file = write_job(graft_home.work, name, **{"training": JAX_TRAINING, "register": None, **spec})
    ended = graft_home.graft("run", file, "-o", "json")
    assert ended.code == 0, ended.err
    return ended


def task_of(bundle: str) -> str:
    """What a bundle that is whole does."""
    return open_bundle(Path(bundle)).manifest.task
