"""What an earlier run of a job is worth to the next one: to be continued, to be answered from, or nothing.

Same fingerprint, same weights: everything that decides them is in it, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from graftwork.bundle.directory import BundleError, open_bundle
from graftwork.bundle.manifest import MANIFEST_FILE
from graftwork.errors import PermanentError
from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork_jobs import run_paths
from graftwork_jobs.assessment import library_versions
from graftwork_jobs.evaluation.report import REPORT_FILE
from graftwork_jobs.run_paths import RunPaths, RunState

if TYPE_CHECKING:
    from graftwork.bundle.directory import Bundle
    from graftwork.registry.records import ModelVersion
    from graftwork.settings import Settings
    from graftwork_jobs.plan import PlannedJob

DECIDING_SECTIONS = frozenset({"task", "backbone", "input", "data", "augment", "head", "phases", "training", "search"})
"""Sections of the spec that decide the weights. The number of workers, gates, caches and registration do not."""
_FIELDS_SHOWN: Final = 3
# Of a search, what changes neither its trials nor which is the best.
_SEARCH_SPEED = {"search": {"max_concurrent"}}
# What computes the weights. Ray only starts it, and OpenVINO only serves it.
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

    @property
    def is_trained(self) -> bool:
        """Whether it was tested and reported, so that at most gates, bundle and registration are left."""
        return self.is_finished or (self.paths.report_dir / REPORT_FILE).is_file()


def was_judged_alike(job: FineTuneJob, paths: RunPaths) -> bool:
    """Whether a run was last evaluated as the spec asks for now, gates included."""
    try:
        before = FineTuneJob.model_validate_json(paths.spec_file.read_text())
    except (OSError, ValueError):
        return False
    return before.spec.evaluation == job.spec.evaluation


def packed_bundle(job: FineTuneJob, paths: RunPaths) -> Bundle | None:
    """The bundle that a run wrote earlier, if it is whole and what the spec makes now: gates change none."""
    if not (paths.bundle_dir / MANIFEST_FILE).is_file():
        return None
    try:
        bundle = open_bundle(paths.bundle_dir)
    except BundleError:
        return None  # damaged: it is written again
    told = dict(bundle.manifest.lineage.spec.get("spec", {}).get("evaluation", {}))
    asked = job.model_dump(mode="json", by_alias=True, exclude_none=True)["spec"]["evaluation"]
    told.pop("gates", None)
    asked.pop("gates", None)
    return bundle if told == asked else None


def what_stays(version: ModelVersion) -> str:
    """What gates that came later do not undo."""
    aliases = f" with the alias {', '.join(version.aliases)}" if version.aliases else ""
    return (
        f"{version.name}/{version.version}, which this run registered under other gates, stays{aliases}. "
        f"`graft models rollback {version.name}` takes the version before."
    )


def fingerprint(job: FineTuneJob, planned: PlannedJob) -> str:
    """SHA-256 of what decides the weights: sections of the spec, data, backbone, libraries.

    A run may only be continued, or stand for another, if this is the same.
    """
    content = {
        **_deciding(job),
        "data": planned.plan.data_digest,
        "backbone": planned.plan.backbone["digest"],
        "libraries": {
            name: version
            for name, version in library_versions(job.spec.training.backend).items()
            if name in _COMPUTING_LIBRARIES
        },
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _deciding(job: FineTuneJob, *, by_alias: bool = False) -> dict[str, Any]:
    """What of a spec decides the weights.

    Args:
        job: the job.
        by_alias: with the names of YAML.
    """
    averaging = job.spec.evaluation.test_time_augmentation
    sections = set(DECIDING_SECTIONS)
    return {
        "spec": job.spec.model_dump(mode="json", include=sections, exclude=_SEARCH_SPEED, by_alias=by_alias),
        # Keeping features changes nothing; keeping a few views of each picture rather than fresh ones does.
        "views": job.spec.features.views,
        # What is kept of a run are its predictions.
        **({} if averaging is None else {"averaging": averaging.model_dump(mode="json", by_alias=by_alias)}),
    }


def opening(paths: RunPaths, earlier: EarlierRun | None) -> str:
    """What a run begins with, for a person."""
    if earlier is None:
        return f"run {paths.run_id} in {paths.root}"
    if earlier.is_finished:
        return (
            f"run {paths.run_id} had the same spec, data, backbone and libraries: nothing is trained "
            "(--force trains again)"
        )
    if earlier.is_trained:
        return (
            f"run {paths.run_id} had the same spec, data, backbone and libraries and is trained: "
            "what follows is done again (--force trains again)"
        )
    return f"continuing the unfinished run {paths.run_id} (--restart starts over)"


def why_not_continued(settings: Settings, fresh: RunPaths, job: FineTuneJob, planned: PlannedJob) -> str | None:
    """Which unfinished run a fresh one does not go on with, and what is different; None if there is none.

    Args:
        settings: where runs are.
        fresh: the run that begins.
        job: its spec.
        planned: its plan.
    """
    others = (paths for paths in run_paths.runs_of(settings, fresh.job) if paths.run_id < fresh.run_id)
    before = next(others, None)
    if before is None or run_paths.read_state(before).status in {"succeeded", "failed"} or run_paths.is_driven(before):
        return None
    try:
        earlier_job = FineTuneJob.model_validate_json(before.spec_file.read_text())
        plan = json.loads(before.plan_file.read_text())
    except (OSError, ValueError):
        return None  # killed before it began, or of another version
    before_it, now = _deciding(earlier_job, by_alias=True), _deciding(job, by_alias=True)
    fields = [
        field
        for part, name in (("spec", ""), ("views", "features.views"), ("averaging", "evaluation.testTimeAugmentation"))
        for field in _differences(before_it.get(part), now.get(part), name)
    ]
    if plan.get("data_digest") != planned.plan.data_digest and not any(field.startswith("data") for field in fields):
        fields.append("the data")
    if plan.get("backbone", {}).get("digest") != planned.plan.backbone["digest"]:
        fields.append("the backbone's file")
    changed = ", ".join(fields[:_FIELDS_SHOWN]) or "the installed libraries"
    more = f" and {len(fields) - _FIELDS_SHOWN} more" if len(fields) > _FIELDS_SHOWN else ""
    return (
        f"the unfinished run {before.run_id} is not continued, because its weights would be others: {changed}{more} "
        "changed since. Put that back to go on with it."
    )


def _differences(before: Any, now: Any, path: str) -> Iterator[str]:
    """Paths of what is not the same, such as `phases[1].epochs (4, now 2)`."""
    match before, now:
        case dict(), dict():
            for key in dict.fromkeys([*before, *now]):
                yield from _differences(before.get(key), now.get(key), f"{path}.{key}" if path else key)
        case list(), list() if len(before) == len(now):
            for place, (old, new) in enumerate(zip(before, now, strict=True)):
                yield from _differences(old, new, f"{path}[{place}]")
        case _ if before != now:
            plain = not isinstance(before, dict | list) and not isinstance(now, dict | list)
            yield f"{path} ({before}, now {now})" if plain else path


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
