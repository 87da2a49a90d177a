"""What an earlier run of a job is worth to the next one: to be continued, to be answered from, or nothing.

Same fingerprint, same weights: everything that decides them is in it, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graftwork.errors import PermanentError
from graftwork_jobs import run_paths
from graftwork_jobs.assessment import library_versions
from graftwork_jobs.run_paths import RunPaths, RunState

if TYPE_CHECKING:
    from graftwork.settings import Settings
    from graftwork.spec.fine_tune_job import FineTuneJob
    from graftwork_jobs.plan import PlannedJob

DECIDING_SECTIONS = frozenset({"task", "backbone", "input", "data", "augment", "head", "phases", "training", "search"})
"""Sections of the spec that decide the weights. The number of workers, gates, caches and registration do not."""
# What computes the weights. Ray only starts it, and OpenVINO only serves it.
# Of a search, what changes neither its trials nor which is the best.
_SEARCH_SPEED = {"search": {"max_concurrent"}}
_COMPUTING_LIBRARIES = frozenset({"graftwork", "jax", "jaxlib", "keras", "keras-hub", "tensorflow", "numpy", "pillow"})


class JobBusyError(PermanentError):
    """Another process is working on the same job with the same spec and data."""


@dataclass(frozen=True, kw_only=True)
class EarlierRun:
    """A run with the fingerprint that was asked for.

    Attributes:
        paths: its files.
        state: how far it came.
    """

    paths: RunPaths
    state: RunState

    @property
    def is_finished(self) -> bool:
        """Whether it came to its end, so that its result stands for another run's."""
        return self.state.status == "succeeded"


def fingerprint(job: FineTuneJob, planned: PlannedJob) -> str:
    """SHA-256 of what decides the weights: sections of the spec, data, backbone, libraries.

    A run may only be continued, or stand for another, if this is the same.
    """
    averaging = job.spec.evaluation.test_time_augmentation
    content = {
        "spec": job.spec.model_dump(mode="json", include=set(DECIDING_SECTIONS), exclude=_SEARCH_SPEED),
        # Keeping features changes nothing; keeping a few views of each picture rather than fresh ones does.
        "views": job.spec.features.views,
        # What is kept of a run are its predictions.
        **({} if averaging is None else {"averaging": averaging.model_dump(mode="json")}),
        "data": planned.plan.data_digest,
        "backbone": planned.plan.backbone["digest"],
        "libraries": {
            name: version
            for name, version in library_versions(job.spec.training.backend).items()
            if name in _COMPUTING_LIBRARIES
        },
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def find_earlier_run(settings: Settings, job: str, wanted: str) -> EarlierRun | None:
    """The newest run of a job with a fingerprint; runs of other specs, data or libraries are passed over.

    Args:
        settings: where runs are.
        job: its name.
        wanted: the fingerprint.
    """
    for paths in run_paths.runs_of(settings, job):
        state = run_paths.read_state(paths)
        if state.fingerprint == wanted:
            return EarlierRun(paths=paths, state=state)
    return None
