"""Names, labels and digests of the objects made on a cluster: each kind of key is built here and nowhere else. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from graftwork.spec.base import API_VERSION

GROUP: Final = API_VERSION.partition("/")[0]
FIELD_MANAGER: Final = "graftwork-operator"
JOB_LABEL: Final = f"{GROUP}/job"
SCHEDULE_LABEL: Final = f"{GROUP}/schedule"
SCHEDULE_TIME_ANNOTATION: Final = f"{GROUP}/schedule-time"
ENDPOINT_LABEL: Final = f"{GROUP}/endpoint"
MANAGED_LABEL: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "graftwork"
QUEUE_LABEL: Final = "kueue.x-k8s.io/queue-name"
PRIORITY_LABEL: Final = "kueue.x-k8s.io/priority-class"
APPLIED_ANNOTATION: Final = f"{GROUP}/applied"
REPLICAS_ANNOTATION: Final = f"{GROUP}/replicas"
PLACEMENT_ANNOTATION: Final = f"{GROUP}/placement"
RAY_CLUSTER_LABEL: Final = "ray.io/cluster"
RAY_NODE_TYPE_LABEL: Final = "ray.io/node-type"

_DIGEST_LENGTH = 8
_NOT_OF_A_TRY = frozenset({"suspend", "queue", "ttlAfterFinished"})


def digest_of(content: Any, *, length: int = 16) -> str:
    """Start of the SHA-256 of a JSON-ready value; equal values have equal digests."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def job_digest(spec: Mapping[str, Any]) -> str:
    """Digest of what a job trains: all of its spec but when, and how it is placed on the cluster."""
    trained = {key: value for key, value in spec.items() if key not in {"kubernetes", "schedule"}}
    return digest_of(trained, length=_DIGEST_LENGTH)


def placement_digest(spec: Mapping[str, Any]) -> str:
    """Digest of how a job is run on the cluster: its pods, and what time and tries they have."""
    placement = spec.get("kubernetes") or {}
    of_a_try = {key: value for key, value in placement.items() if key not in _NOT_OF_A_TRY}
    return digest_of(of_a_try, length=_DIGEST_LENGTH)


def run_name(job: str, digest: str) -> str:
    """Name of a job's RayJob, and of all that belongs to it."""
    return f"{job}-{digest}"


def scheduled_run_name(job: str, time: datetime) -> str:
    """Name of the FineTuneJob that a schedule starts at a time: a time has one run, however often it is looked at."""
    return f"{job}-{time.astimezone(UTC):%Y%m%d%H%M}"


def progress_name(run: str) -> str:
    """Name of the ConfigMap in which a run reports how far it is."""
    return f"{run}-progress"


def service_name(endpoint: str) -> str:
    """Name of an endpoint's RayService, and of all that belongs to it."""
    return endpoint


def grpc_service_name(endpoint: str) -> str:
    """Name of the Service through which an endpoint answers gRPC."""
    return f"{service_name(endpoint)}-grpc"


def replicas_service_name(endpoint: str) -> str:
    """Name of the Service through which the operator asks an endpoint's replicas."""
    return f"{service_name(endpoint)}-replicas"


def serve_service_name(endpoint: str) -> str:
    """Name of the Service that KubeRay makes for a RayService."""
    return f"{service_name(endpoint)}-serve-svc"


def serve_host(endpoint: str, namespace: str) -> str:
    """DNS name of the Service that KubeRay makes for a RayService."""
    return f"{serve_service_name(endpoint)}.{namespace}"


def event_name(uid: str, reason: str, message: str, generation: int) -> str:
    """Name of an event: the same news has the same name, so that a restarted operator does not tell it twice."""
    return f"graft-{digest_of([uid, reason, message, generation])}"
