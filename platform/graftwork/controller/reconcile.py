"""One look at one object: observe, decide, carry out. Called for an object whenever anything about it may have changed.

If it is interrupted anywhere, the next look goes on: every action may be repeated, and the status is written last.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from graftwork.controller import names
from graftwork.controller.actions import Action, Again, Apply, Create, Delete, Emit, SetStatus
from graftwork.controller.cluster import Cluster, Object, stored
from graftwork.controller.conditions import time_text
from graftwork.controller.decide_endpoint import EndpointObserved, aliases_of, decide_endpoint, is_answering
from graftwork.controller.decide_job import JobObserved, decide_job
from graftwork.controller.endpoint_objects import METRICS_PORT
from graftwork.controller.exposure import GATEWAY_API
from graftwork.controller.ownership import owns, refuse_foreign
from graftwork.controller.pods import PodDefaults
from graftwork.controller.read_spec import essential, read_object
from graftwork.controller.refusal import tell_refusal
from graftwork.controller.rollback_report import RollbackReport
from graftwork.errors import GraftworkError, PermanentError, SpecError, TransientError
from graftwork.spec.base import API_VERSION
from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork.spec.status import ENDED

RAY = "ray.io/v1"
_SAME_MODEL = 8
_logger = logging.getLogger(__name__)
Resolver = Callable[[str], str]
"""From `NAME@ALIAS` to `NAME/VERSION`; raises `GraftworkError` with the reason."""
RollbackReader = Callable[[str], RollbackReport]
"""From HOST:PORT of an endpoint's replicas to what they gave up; raises `TransientError` if none says."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """Which object.

    Attributes:
        kind: FineTuneJob or InferenceEndpoint.
        namespace: where.
        name: which.
    """

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Reconciler:
    """What a look needs.

    Attributes:
        cluster: the cluster.
        defaults: what the operator was installed with.
        clock: the time.
        resolve: looks up aliases in the model registry.
        read_rollbacks: asks an endpoint's replicas what they gave up.
        namespaces: where jobs may be that register the same model; None for all.
        on_seen: told what the status of an object is after a look; None for one that is gone.
        may_go_on: False once this operator no longer leads; asked before each action.
    """

    cluster: Cluster
    defaults: PodDefaults
    clock: Callable[[], datetime]
    resolve: Resolver
    read_rollbacks: RollbackReader
    namespaces: tuple[str | None, ...] = (None,)
    on_seen: Callable[[Key, Mapping[str, Any] | None], None] = lambda *_: None
    may_go_on: Callable[[], bool] = lambda: True

    def look(self, key: Key) -> float | None:
        """Bring an object one step on.

        Returns:
            After how many seconds to look again even if nothing happens; None for never.

        Raises:
            TransientError: to be tried again.
            PermanentError: the cluster refused something.
        """
        found = stored(self.cluster, key.kind, key.namespace, key.name)
        if found is None:
            self.on_seen(key, None)
            return None
        actions = self._decide(key, found)
        said = next((action.status for action in actions if isinstance(action, SetStatus)), found.get("status") or {})
        self.on_seen(key, said)
        try:
            # Objects first and the status last: a status never tells of what was not done.
            return self._carry_out(found, actions)
        except PermanentError as error:
            # Tried again all the same: what stands in the way may be taken away.
            self._carry_out(found, tell_refusal(found, error, now=self.clock()))
            raise

    def _decide(self, key: Key, found: Object) -> Sequence[Action]:
        if key.kind == "FineTuneJob":
            return decide_job(self._see_job(key, found), now=self.clock(), defaults=self.defaults)
        return decide_endpoint(self._see_endpoint(key, found), now=self.clock(), defaults=self.defaults)

    def _see_job(self, key: Key, found: Object) -> JobObserved:
        ray_jobs = self.cluster.list(RAY, "RayJob", key.namespace, labels=f"{names.JOB_LABEL}={key.name}")
        run = names.run_name(key.name, names.job_digest(_content(found)))
        if all(ray_job["metadata"]["name"] != run for ray_job in ray_jobs):
            namesake = self.cluster.get(RAY, "RayJob", key.namespace, run)
            ray_jobs = [*ray_jobs, *([namesake] if namesake is not None else [])]
        return JobObserved(
            job=found,
            ray_jobs=ray_jobs,
            runs=self._runs(key) if found.get("spec", {}).get("schedule") is not None else (),
            same_model=self._same_model(found),
            progress=self.cluster.get("v1", "ConfigMap", key.namespace, names.progress_name(run)),
            # Asked only if nothing is there that answers it.
            has_kuberay=bool(ray_jobs) or self.cluster.knows(RAY),
        )

    def _runs(self, key: Key) -> Sequence[Object]:
        labels = f"{names.SCHEDULE_LABEL}={key.name}"
        return self.cluster.list(API_VERSION, "FineTuneJob", key.namespace, labels=labels)

    def _same_model(self, found: Object) -> Sequence[Object]:
        """Jobs under way that register the model that a job under way does."""
        spec = found.get("spec", {})
        model = (spec.get("register") or {}).get("model")
        if model is None or spec.get("schedule") is not None or (found.get("status") or {}).get("phase") in ENDED:
            return ()
        fields = ",".join(
            [
                f"spec.register.model={model}",
                "spec.kubernetes.suspend!=true",
                *(f"status.phase!={phase}" for phase in sorted(ENDED)),
            ]
        )
        # Some are enough to tell of: all jobs of a model at each look at each of them would be too much.
        return [
            each
            for namespace in self.namespaces
            for each in self.cluster.list(API_VERSION, "FineTuneJob", namespace, fields=fields, most=_SAME_MODEL)
        ]

    def _see_endpoint(self, key: Key, found: Object) -> EndpointObserved:
        ray_service = self.cluster.get(RAY, "RayService", key.namespace, names.service_name(key.name))
        resolved, unresolved, is_silent = {}, {}, False
        for alias in aliases_of(found):
            try:
                resolved[alias] = self.resolve(alias)
            except GraftworkError as error:
                unresolved[alias] = str(error)
                is_silent = is_silent or isinstance(error, TransientError)
        rollbacks, rollbacks_unknown = self._see_rollbacks(key, found, ray_service)
        return EndpointObserved(
            endpoint=found,
            ray_service=ray_service,
            resolved=resolved,
            unresolved=unresolved,
            registry_is_silent=is_silent,
            rollbacks=rollbacks,
            rollbacks_unknown=rollbacks_unknown,
            has_kuberay=ray_service is not None or self.cluster.knows(RAY),
            has_gateway_api=not _wants_gateway(found) or self.cluster.knows(GATEWAY_API),
        )

    def _see_rollbacks(self, key: Key, found: Object, ray_service: Object | None) -> tuple[RollbackReport | None, str]:
        """What replicas gave up, or why they do not say; neither where nobody has to be asked."""
        wanted = (found.get("spec", {}).get("rollout") or {}).get("rollback") is not None
        if not wanted or not is_answering(ray_service):
            return None, ""
        host = f"{names.replicas_service_name(key.name)}.{key.namespace}"
        try:
            return self.read_rollbacks(f"{host}:{METRICS_PORT}"), ""
        except TransientError as error:
            return None, str(error)

    def _carry_out(self, found: Object, actions: Sequence[Action]) -> float | None:
        again: list[float] = []
        for action in actions:
            if not self.may_go_on():
                return None
            _log(found, action)
            match action:
                case Apply(manifest=manifest) | Create(manifest=manifest):
                    standing = self._standing(manifest)
                    refuse_foreign(standing, found)
                    if standing is None and not self._is_still_there(found):
                        return None
                    if isinstance(action, Apply):
                        self.cluster.apply(_onto(standing, manifest))
                    else:
                        self.cluster.create(manifest)
                case Delete():
                    self._delete(found, action)
                case SetStatus(status=status):
                    self.cluster.apply_status(_status_manifest(found, status))
                case Emit():
                    self.cluster.create(_event(found, action, self.clock()))
                case Again(after_s=after_s):
                    again.append(after_s)
        return min(again, default=None)

    def _standing(self, manifest: Mapping[str, Any]) -> Object | None:
        """What has the name of an object that is to be written."""
        metadata = manifest["metadata"]
        return self.cluster.get(manifest["apiVersion"], manifest["kind"], metadata["namespace"], metadata["name"])

    def _is_still_there(self, found: Object) -> bool:
        """Whether what is looked at was not deleted since: what it owned goes with it, and must not be made again."""
        metadata = found["metadata"]
        now = stored(self.cluster, found["kind"], metadata["namespace"], metadata["name"])
        if now is None or now["metadata"].get("deletionTimestamp"):
            return False
        is_same: bool = now["metadata"]["uid"] == metadata["uid"]
        return is_same

    def _delete(self, found: Object, action: Delete) -> None:
        where = (action.api_version, action.kind, action.namespace, action.name)
        uid = action.uid
        if uid is None:
            standing = self.cluster.get(*where)
            if standing is None or not owns(standing, found["metadata"]["uid"]):
                return
            uid = standing["metadata"]["uid"]
        self.cluster.delete(*where, uid=uid)


def _onto(standing: Object | None, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """A manifest that changes the very object that stands there: applied to none, it is refused and makes none."""
    if standing is None:
        return manifest
    return {**manifest, "metadata": {**manifest["metadata"], "uid": standing["metadata"]["uid"]}}


def _log(found: Object, action: Action) -> None:
    """A line for everything that changes the cluster, and for which object it is."""
    whose = f"{found['kind']} {found['metadata']['namespace']}/{found['metadata']['name']}"
    match action:
        case Apply(manifest=manifest) | Create(manifest=manifest):
            what = "apply" if isinstance(action, Apply) else "create"
            _logger.info("%s: %s %s %s", whose, what, manifest["kind"], manifest["metadata"]["name"])
        case Delete():
            _logger.info("%s: delete %s %s", whose, action.kind, action.name)
        case Emit():
            _logger.info("%s: %s: %s", whose, action.reason, action.message)


def _content(job: Object) -> Mapping[str, Any]:
    """What a job trains; of one that is wrong, what it says."""
    try:
        return essential(read_object(job, FineTuneJob))
    except SpecError:
        content: Mapping[str, Any] = job.get("spec", {})
        return content


def _wants_gateway(endpoint: Object) -> bool:
    expose = (endpoint.get("spec", {}).get("kubernetes") or {}).get("expose") or {}
    return expose.get("gateway") is not None


def _status_manifest(found: Object, status: Mapping[str, Any]) -> dict[str, Any]:
    metadata = found["metadata"]
    return {
        "apiVersion": found["apiVersion"],
        "kind": found["kind"],
        # With its uid, a status never lands on a later namesake.
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"]},
        "status": dict(status),
    }


def _event(found: Object, news: Emit, now: datetime) -> dict[str, Any]:
    metadata = found["metadata"]
    generation = metadata.get("generation", 0)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": names.event_name(metadata["uid"], news.reason, news.message, generation),
            "namespace": metadata["namespace"],
        },
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": found["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
        "type": news.type,
        "reason": news.reason,
        "message": news.message[:1024],
        "source": {"component": names.FIELD_MANAGER},
        "firstTimestamp": time_text(now),
        "lastTimestamp": time_text(now),
        "count": 1,
    }
