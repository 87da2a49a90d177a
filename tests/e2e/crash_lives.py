"""The lives of a job and an endpoint in which the operator is killed, and every point at which it can be.

A point stands before or after a write of the operator to the cluster. They are found by living each life once on a
cluster in memory: a new action of the operator, or another order of them, changes the table by itself. Between a write
and the next one of the same look nothing changes, so that "before" is a point of its own for the first write of a look
only. The operator keeps no finalizers: objects go with their owner.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, Protocol, TypeVar, cast
from unittest.mock import patch

from graftwork.controller.cluster import Cluster
from graftwork.controller.job_objects import PROGRESS_KEY
from graftwork.controller.names import progress_name
from graftwork.controller.pods import PodDefaults
from graftwork.controller.reconcile import Key, Reconciler
from graftwork.controller.rollback_report import RollbackReport
from tests.support.fake_cluster import FakeCluster
from tests.unit.spec.examples import ENDPOINT, JOB, changed

Object = dict[str, Any]
_Class = TypeVar("_Class", bound=type)
_READS = frozenset({"get", "list", "knows"})
WRITES = sorted(name for name in vars(Cluster) if not name.startswith("_") and name not in _READS)


class World(Protocol):
    """Where a life is lived."""

    def apply(self, content: Object) -> None:
        """The user applies the job or endpoint."""
        ...

    def delete(self) -> None:
        """The user deletes it."""
        ...

    def move_alias(self, version: str) -> None:
        """Another version gets the alias in the model registry."""
        ...

    def pods_bring(self, **status: Any) -> None:
        """What KubeRay would say of the RayJob or RayService if its pods ran."""
        ...

    def driver_reports(self, **report: Any) -> None:
        """What the job's driver would say."""
        ...


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing that happens, and what comes of it.

    Attributes:
        happens: brings it about.
        seen: whether the status of the job or endpoint shows it; the status is None once the object is gone.
    """

    happens: Callable[[World], None]
    seen: Callable[[Object | None], bool]


@dataclass(frozen=True, kw_only=True)
class Life:
    """From the applied object to one that is gone.

    Attributes:
        kind: of the object, whose name is `flowers`.
        made: kind of what the operator makes of it.
        steps: what happens, in this order.
    """

    kind: str
    made: str
    steps: tuple[Step, ...]


def _phase(name: str) -> Callable[[Object | None], bool]:
    return lambda status: (status or {}).get("phase") == name


def _status(key: str, value: Any) -> Callable[[Object | None], bool]:
    return lambda status: (status or {}).get(key) == value


def _job(*, seed: int, **placement: Any) -> Object:
    job = changed(changed(JOB, ("spec", "evaluation"), {}), ("spec", "training", "seed"), seed)
    return changed(job, ("spec", "kubernetes"), placement)


def _endpoint(**more: Any) -> Object:
    spec = {
        "models": [{"model": "flowers@champion"}],
        "auth": "none",
        "rollout": {"followAliases": "1s"},
        **more,
    }
    return {**ENDPOINT, "spec": spec}


_EXPOSED = {"grpc": {}, "kubernetes": {"expose": {"host": "flowers.example.org", "ingress": {}}}}
_ENDED = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED", "endTime": "2026-01-01T00:00:00Z"}
_RUNS = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
_READY = {"type": "Ready", "status": "True", "reason": "NonZeroServeEndpoints", "message": ""}
_ANSWERS = {"conditions": [{**_READY, "lastTransitionTime": "2026-01-01T00:00:00Z"}], "numServeEndpoints": 1}

LIVES: Mapping[str, Life] = {
    "job": Life(
        kind="FineTuneJob",
        made="RayJob",
        steps=(
            Step(happens=lambda world: world.apply(_job(seed=7)), seen=_phase("Starting")),
            Step(happens=lambda world: world.pods_bring(**_RUNS), seen=_phase("Running")),
            Step(
                happens=lambda world: world.driver_reports(outcome="running", progress="head 1/10"),
                seen=_status("progress", "head 1/10"),
            ),
            Step(happens=lambda world: world.apply(_job(seed=7, suspend=True)), seen=_phase("Suspended")),
            Step(happens=lambda world: world.apply(_job(seed=7, suspend=False)), seen=_phase("Starting")),
            Step(
                happens=lambda world: world.apply(_job(seed=8)),
                seen=lambda status: _phase("Starting")(status) and "progress" not in (status or {}),
            ),
            Step(happens=lambda world: world.pods_bring(**_RUNS), seen=_phase("Running")),
            Step(
                happens=lambda world: world.driver_reports(outcome="succeeded", model="flowers", version=3),
                seen=_status("model", "flowers/3"),
            ),
            Step(happens=lambda world: world.pods_bring(**_ENDED), seen=_phase("Succeeded")),
            Step(
                happens=lambda world: world.apply(_job(seed=8, ttlAfterFinished="1s")),
                seen=lambda status: status is None,
            ),
        ),
    ),
    "endpoint": Life(
        kind="InferenceEndpoint",
        made="RayService",
        steps=(
            Step(happens=lambda world: world.apply(_endpoint(**_EXPOSED)), seen=_phase("Starting")),
            Step(happens=lambda world: world.move_alias("2"), seen=_status("model", "flowers/2")),
            Step(happens=lambda world: world.apply(_endpoint()), seen=_status("externalUrl", None)),
            Step(happens=lambda world: world.pods_bring(**_ANSWERS), seen=_phase("Ready")),
            Step(happens=lambda world: world.delete(), seen=lambda status: status is None),
        ),
    ),
}


@contextmanager
def without_upkeep() -> Iterator[None]:
    """What the operator brings again now and then would come at other points each time."""
    with (
        patch("graftwork.controller.decide_job.is_due", return_value=False),
        patch("graftwork.controller.decide_endpoint.is_due", return_value=False),
    ):
        yield


def watched(cluster: _Class, passes: Callable[[str], None]) -> _Class:
    """A kind of cluster that tells before and after each write that it is at that point of the operator's work.

    Args:
        cluster: the class.
        passes: takes the names of the points.
    """
    counts: Counter[str] = Counter()

    def telling(name: str) -> Callable[..., Any]:
        write = getattr(cluster, name)

        @wraps(write)
        def told(self: Any, *arguments: Any, **options: Any) -> Any:
            what = _words(name, arguments)
            if what is None:
                return write(self, *arguments, **options)
            counts[what] += 1
            passes(f"before {what} {counts[what]}")
            answer = write(self, *arguments, **options)
            passes(f"after {what} {counts[what]}")
            return answer

        return told

    return cast("_Class", type(cluster.__name__, (cluster,), {name: telling(name) for name in WRITES}))


def _words(verb: str, arguments: tuple[Any, ...]) -> str | None:
    """What a write does, such as `apply RayJob`; None of the Lease, which says who leads."""
    manifest = arguments[0] if isinstance(arguments[0], Mapping) else {"kind": arguments[1]}
    kind = manifest["kind"]
    detail = manifest.get("reason") if kind == "Event" else (manifest.get("status") or {}).get("phase")
    return None if kind == "Lease" else " ".join(filter(None, (verb, kind, detail)))


class _Memory:
    """A life on a cluster in memory, where KubeRay starts what it finds."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._passed: list[str] = []
        self.cluster = watched(FakeCluster, self._passed.append)()
        self._version = "1"
        self._now = datetime(2026, 1, 1, tzinfo=UTC)

    def apply(self, content: Object) -> None:
        # The user's writes are not the operator's.
        FakeCluster.apply(self.cluster, {**content, "metadata": {"name": "flowers", "namespace": "team"}})

    def delete(self) -> None:
        FakeCluster.delete(self.cluster, "", self._life.kind, "team", "flowers")

    def move_alias(self, version: str) -> None:
        self._version = version

    def pods_bring(self, **status: Any) -> None:
        self._made()["status"] = status

    def driver_reports(self, **report: Any) -> None:
        name = progress_name(self._made()["metadata"]["name"])
        self.cluster.objects["ConfigMap", "team", name]["data"] = {PROGRESS_KEY: json.dumps(report)}

    def settle(self) -> list[str]:
        """Let the operator look until it rests; the points it passes, as the module says."""
        points: list[str] = []
        while True:
            self._look()
            self._now += timedelta(seconds=1)
            if not self._passed:
                return points
            points += [self._passed[0], *self._passed[1::2]]
            self._passed.clear()

    def status(self) -> Object | None:
        found = self.cluster.objects.get((self._life.kind, "team", "flowers"))
        return None if found is None else found.get("status", {})

    def _look(self) -> None:
        Reconciler(
            cluster=self.cluster,
            defaults=PodDefaults(train_image="train", serve_image="serve", tracking_uri="http://mlflow:5000"),
            clock=lambda: self._now,
            resolve=lambda alias: f"{alias.partition('@')[0]}/{self._version}",
            read_rollbacks=lambda _: RollbackReport(),
        ).look(Key(kind=self._life.kind, namespace="team", name="flowers"))
        if self._life.made == "RayJob" and self.cluster.named("RayJob"):
            made = self._made()
            stopped = made["spec"]["suspend"]
            if stopped or made.get("status", {}).get("jobDeploymentStatus") in {None, "Suspended"}:
                made["status"] = {"jobDeploymentStatus": "Suspended" if stopped else "Initializing"}

    def _made(self) -> Object:
        (name,) = self.cluster.named(self._life.made)
        return self.cluster.objects[self._life.made, "team", name]


@dataclass(frozen=True, kw_only=True)
class Lived:
    """A life without disturbance.

    Attributes:
        points: where the operator can be killed, in the order in which it passes them.
        made: names of all RayJobs or RayServices that there ever were, each as often as it was made.
    """

    points: tuple[str, ...]
    made: tuple[str, ...]


def lived(life: Life) -> Lived:
    """Live a life in memory."""
    memory = _Memory(life)
    points: list[str] = []
    with without_upkeep():
        for step in life.steps:
            step.happens(memory)
            points += memory.settle()
            assert step.seen(memory.status()), (points[-1:], memory.status())
    made = tuple(name for kind, name in memory.cluster.history if kind == life.made)
    return Lived(points=tuple(points), made=made)
