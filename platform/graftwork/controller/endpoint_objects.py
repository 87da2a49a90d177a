"""From an InferenceEndpoint to the objects that answer: RayService, Service, ServiceAccount, policies. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from graftwork.api_keys import KEYS_FOLDER
from graftwork.controller import names
from graftwork.controller.exposure import route
from graftwork.controller.job_objects import RAY_METRICS_PORT, network_policy
from graftwork.controller.pods import CONTAINER_SECURITY, HEAD_START_CPUS, RAY_VERSION, Pod, PodDefaults, pod_template
from graftwork.spec.inference_endpoint import InferenceEndpoint
from graftwork.spec.serve_scaling import HEALTH_CHECK_PERIOD_S, scaling_options
from graftwork.spec.serve_setup import SERVE_ENVIRONMENT

PORT: Final = 8000
GRPC_PORT: Final = 8001
METRICS_PORT: Final = 9091
METRICS_PORT_NAME: Final = "graft-metrics"
APPLICATION: Final = "endpoint"
DEPLOYMENT: Final = "EndpointReplica"
BUILDER: Final = "graftwork_serving.cluster_app:build"
_HEAD_MEMORY = "2Gi"
# `auto` on a cluster, where a replica has a pod of its own rather than a share of a machine.
_AUTO_CPUS = 1.0


@dataclass(frozen=True, kw_only=True)
class EndpointRun:
    """An endpoint on the cluster.

    Attributes:
        endpoint: the endpoint.
        uid: of the InferenceEndpoint; empty for objects that are only printed.
        content: the spec section without defaults (`read_spec.essential`).
        namespace: where.
        defaults: what the operator was installed with.
        resolved: `NAME/VERSION` behind every `NAME@ALIAS` of the spec.
    """

    endpoint: InferenceEndpoint
    uid: str
    content: Mapping[str, Any]
    namespace: str
    defaults: PodDefaults
    resolved: Mapping[str, str]

    @property
    def name(self) -> str:
        """Of the RayService and what belongs to it."""
        return names.service_name(self.endpoint.metadata.name)

    @property
    def service_account(self) -> str:
        """In whose name the pods run."""
        return self.endpoint.spec.kubernetes.service_account or self.name


def endpoint_objects(run: EndpointRun) -> list[dict[str, Any]]:
    """All objects of an endpoint, in the order in which they are needed; the last tells the digest of all of them."""
    own_account = [_service_account(run)] if run.endpoint.spec.kubernetes.service_account is None else []
    grpc = [_grpc_service(run)] if run.endpoint.spec.grpc is not None else []
    asked = [_replicas_service(run)] if run.endpoint.spec.rollout.rollback is not None else []
    objects = [*own_account, _network_policy(run), _budget(run), *grpc, *asked, *_routes(run), _ray_service(run)]
    objects[-1]["metadata"]["annotations"] = {names.APPLIED_ANNOTATION: names.digest_of(objects)}
    return objects


def _ray_service(run: EndpointRun) -> dict[str, Any]:
    """The RayService. Models are in Serve's configuration only: other models never mean another cluster."""
    manifest: dict[str, Any] = {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": _metadata(run),
        "spec": {
            # Where there may be no replica, the head's proxy takes the request that wakes one.
            "excludeHeadPodFromServeSvc": run.endpoint.spec.autoscaling.min_replicas > 0,
            "serveConfigV2": yaml.safe_dump(_serve_config(run), sort_keys=True),
            "rayClusterConfig": _cluster(run),
        },
    }
    if (queue := run.endpoint.spec.kubernetes.queue) is not None:
        manifest["metadata"]["labels"][names.QUEUE_LABEL] = queue
    return manifest


def _metadata(run: EndpointRun, name: str | None = None) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": name or run.name,
        "namespace": run.namespace,
        "labels": {names.MANAGED_LABEL: names.MANAGED_BY, names.ENDPOINT_LABEL: run.endpoint.metadata.name},
    }
    if run.uid:
        metadata["ownerReferences"] = [
            {
                "apiVersion": run.endpoint.api_version,
                "kind": run.endpoint.kind,
                "name": run.endpoint.metadata.name,
                "uid": run.uid,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ]
    return metadata


def _service_account(run: EndpointRun) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _metadata(run),
        "automountServiceAccountToken": False,
    }


def _network_policy(run: EndpointRun) -> dict[str, Any]:
    ports = (PORT, GRPC_PORT) if run.endpoint.spec.grpc is not None else (PORT,)
    return network_policy(_metadata(run), _selector(run), open_to_all=ports, metrics=(RAY_METRICS_PORT, METRICS_PORT))


def _routes(run: EndpointRun) -> list[dict[str, Any]]:
    exposure = run.endpoint.spec.kubernetes.expose
    if exposure is None:
        return []
    service = names.serve_service_name(run.endpoint.metadata.name)
    return [route(exposure, metadata=_metadata(run), service=service, port=PORT)]


def _grpc_service(run: EndpointRun) -> dict[str, Any]:
    """The replicas' own gRPC servers; KubeRay's Service is for HTTP, which goes through Serve's proxies."""
    port = {"name": "grpc", "port": GRPC_PORT, "targetPort": GRPC_PORT, "appProtocol": "kubernetes.io/h2c"}
    return _service(run, names.grpc_service_name(run.endpoint.metadata.name), port)


def _replicas_service(run: EndpointRun) -> dict[str, Any]:
    """Where the operator asks for rollbacks; any replica speaks for all."""
    port = {"name": METRICS_PORT_NAME, "port": METRICS_PORT, "targetPort": METRICS_PORT}
    return _service(run, names.replicas_service_name(run.endpoint.metadata.name), port)


def _service(run: EndpointRun, name: str, port: dict[str, Any]) -> dict[str, Any]:
    workers = {names.ENDPOINT_LABEL: run.endpoint.metadata.name, names.RAY_NODE_TYPE_LABEL: "worker"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(run, name),
        "spec": {"selector": workers, "ports": [port]},
    }


def _budget(run: EndpointRun) -> dict[str, Any]:
    """A node that is emptied takes one of an endpoint's pods at a time: all but one of the head and the least replicas.

    A number of pods that stay: `maxUnavailable` is counted against what a controller's scale subresource says, and
    RayClusters, which own the pods, have none; evictions would be refused for ever.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(run),
        "spec": {"minAvailable": run.endpoint.spec.autoscaling.min_replicas, "selector": _selector(run)},
    }


def _selector(run: EndpointRun) -> dict[str, Any]:
    return {"matchLabels": {names.ENDPOINT_LABEL: run.endpoint.metadata.name}}


def _cpus(run: EndpointRun) -> float:
    cpus = run.endpoint.spec.resources.cpus
    return _AUTO_CPUS if cpus == "auto" else cpus


def _serve_config(run: EndpointRun) -> dict[str, Any]:
    """Serve's configuration; what changes with a model stands in `user_config`, which replicas follow in place."""
    spec = run.endpoint.spec
    scaling = spec.autoscaling
    replicas = scaling_options(scaling, endpoint=run.endpoint.metadata.name, folder=None)
    # Neither how pods are placed nor how many there are is a replica's business; where they listen is the same for all.
    told = {
        key: value for key, value in run.content.items() if key not in {"kubernetes", "autoscaling", "http", "grpc"}
    }
    if spec.grpc is not None:
        told["grpc"] = {"host": "0.0.0.0", "port": GRPC_PORT}  # noqa: S104 (inside the pod)
    deployment = {
        "name": DEPLOYMENT,
        "user_config": {
            "endpoint": {
                "apiVersion": run.endpoint.api_version,
                "kind": run.endpoint.kind,
                "metadata": {"name": run.endpoint.metadata.name},
                "spec": told,
            },
            "resolved": dict(sorted(run.resolved.items())),
        },
        "ray_actor_options": {
            "num_cpus": _cpus(run),
            **({"num_gpus": spec.resources.gpus} if spec.resources.gpus else {}),
        },
        "max_ongoing_requests": spec.limits.max_queued_requests + 1024,
        "graceful_shutdown_timeout_s": 20,
        "health_check_period_s": HEALTH_CHECK_PERIOD_S,
        **replicas,
    }
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": PORT},  # noqa: S104 (inside the pod)
        "applications": [
            {
                "name": APPLICATION,
                "route_prefix": "/",
                "import_path": BUILDER,
                "args": {"threads": max(1, int(_cpus(run))), "metrics_port": METRICS_PORT},
                "deployments": [deployment],
            }
        ],
    }


def _cluster(run: EndpointRun) -> dict[str, Any]:
    scaling = run.endpoint.spec.autoscaling
    scales = scaling.max_replicas > scaling.min_replicas
    # The autoscaler runs beside the head and asks the API server for pods: it needs the account's token.
    head = Pod(
        **_common(run),
        container="ray-head",
        cpus=1 + HEAD_START_CPUS,
        requested_cpus=1,
        memory=_HEAD_MEMORY,
        token=scales,
    )
    worker = Pod(
        **_common(run),
        container="ray-worker",
        cpus=_cpus(run),
        gpus=math.ceil(run.endpoint.spec.resources.gpus),
        computes=True,
        memory=run.endpoint.spec.kubernetes.memory,
        secrets=_key_secret(run),
        ports={METRICS_PORT_NAME: METRICS_PORT},
    )
    template = pod_template(worker)
    # KubeRay follows what changes in a template, with a cluster beside the one there is, and leaves a running cluster's
    # bounds as they were.
    template["metadata"]["annotations"] = {names.REPLICAS_ANNOTATION: f"{scaling.min_replicas}-{scaling.max_replicas}"}
    return {
        "rayVersion": RAY_VERSION,
        "authOptions": {"mode": "token"},
        "enableInTreeAutoscaling": scales,
        **({"autoscalerOptions": {"securityContext": dict(CONTAINER_SECURITY)}} if scales else {}),
        "headGroupSpec": {
            "rayStartParams": {"dashboard-host": "0.0.0.0", "num-cpus": "0"},  # noqa: S104 (inside the pod)
            "template": pod_template(head),
        },
        "workerGroupSpecs": [
            {
                "groupName": "replicas",
                "replicas": scaling.min_replicas,
                "minReplicas": scaling.min_replicas,
                "maxReplicas": scaling.max_replicas,
                "rayStartParams": {},
                "template": template,
            }
        ],
    }


def _key_secret(run: EndpointRun) -> dict[str, str]:
    auth = run.endpoint.spec.auth
    if auth is None or auth == "none" or auth.api_keys is None or auth.api_keys.secret_name is None:
        return {}
    return {auth.api_keys.secret_name: KEYS_FOLDER}


def _common(run: EndpointRun) -> dict[str, Any]:
    return {
        "image": run.defaults.serve_image,
        "placement": run.endpoint.spec.kubernetes,
        "defaults": run.defaults,
        "labels": {names.MANAGED_LABEL: names.MANAGED_BY, names.ENDPOINT_LABEL: run.endpoint.metadata.name},
        "service_account": run.service_account,
        "env": SERVE_ENVIRONMENT,
    }
