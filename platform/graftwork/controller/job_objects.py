"""From a FineTuneJob to the objects that run it: RayJob, ConfigMaps, ServiceAccount, Role, NetworkPolicy. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from graftwork.controller import names
from graftwork.controller.pods import HEAD_START_CPUS, RAY_VERSION, Pod, PodDefaults, pod_template
from graftwork.spec.amounts import seconds_of
from graftwork.spec.fine_tune_job import FineTuneJob

SPEC_FOLDER: Final = "/etc/graftwork"
SPEC_FILE: Final = "job.json"
RAY_METRICS_PORT: Final = 8080
PROGRESS_KEY: Final = "progress.json"
ENTRYPOINT: Final = f"python -m graftwork_jobs.cluster_run {SPEC_FOLDER}/{SPEC_FILE}"
_SUBMITTER_MEMORY = "512Mi"
_DRIVER_CPUS = 1.0


@dataclass(frozen=True, kw_only=True)
class JobRun:
    """One run of a job on the cluster: a spec, and the name all its objects share.

    Attributes:
        job: the job.
        uid: of the FineTuneJob; empty for objects that are only printed.
        content: the spec section without defaults (`read_spec.essential`).
        namespace: where.
        defaults: what the operator was installed with.
    """

    job: FineTuneJob
    uid: str
    content: Mapping[str, Any]
    namespace: str
    defaults: PodDefaults

    @property
    def digest(self) -> str:
        """Of what is trained."""
        return names.job_digest(self.content)

    @property
    def placement(self) -> str:
        """Digest of how it is run on the cluster."""
        return names.placement_digest(self.content)

    @property
    def name(self) -> str:
        """Of the RayJob and what belongs to it."""
        return names.run_name(self.job.metadata.name, self.digest)

    @property
    def service_account(self) -> str:
        """In whose name the driver runs."""
        return self.job.spec.kubernetes.service_account or self.name


def job_objects(run: JobRun) -> list[dict[str, Any]]:
    """All objects of a run, in the order in which they are needed."""
    own_account = [_service_account(run)] if run.job.spec.kubernetes.service_account is None else []
    return [*own_account, _spec_map(run), _role(run), _role_binding(run), _network_policy(run), ray_job(run)]


def ray_job(run: JobRun) -> dict[str, Any]:
    """The RayJob, with the digest of itself as an annotation."""
    placement = run.job.spec.kubernetes
    spec: dict[str, Any] = {
        "entrypoint": ENTRYPOINT,
        "submissionMode": "K8sJobMode",
        "backoffLimit": placement.retries,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 0,
        "submitterPodTemplate": pod_template(_submitter(run)),
        "rayClusterSpec": _cluster(run),
    }
    # With a queue, Kueue suspends and resumes; we only ever stop.
    if placement.queue is None or placement.suspend:
        spec["suspend"] = placement.suspend
    if placement.deadline is not None:
        spec["activeDeadlineSeconds"] = seconds_of(placement.deadline)
    if placement.start_deadline is not None:
        spec["preRunningDeadlineSeconds"] = seconds_of(placement.start_deadline)
    metadata = _metadata(run, run.name)
    if placement.queue is not None:
        metadata["labels"][names.QUEUE_LABEL] = placement.queue
    if placement.queue is not None and placement.priority_class is not None:
        metadata["labels"][names.PRIORITY_LABEL] = placement.priority_class
    manifest = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata, "spec": spec}
    metadata["annotations"] = {
        names.APPLIED_ANNOTATION: names.digest_of(manifest),
        names.PLACEMENT_ANNOTATION: run.placement,
    }
    return manifest


def _metadata(run: JobRun, name: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": run.namespace,
        "labels": {names.MANAGED_LABEL: names.MANAGED_BY, names.JOB_LABEL: run.job.metadata.name},
    }
    if run.uid:
        metadata["ownerReferences"] = [
            {
                "apiVersion": run.job.api_version,
                "kind": run.job.kind,
                "name": run.job.metadata.name,
                "uid": run.uid,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ]
    return metadata


def _service_account(run: JobRun) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _metadata(run, run.name),
        "automountServiceAccountToken": False,
    }


def _spec_map(run: JobRun) -> dict[str, Any]:
    """The job as the driver reads it."""
    content = {
        "apiVersion": run.job.api_version,
        "kind": run.job.kind,
        "metadata": {"name": run.job.metadata.name},
        "spec": {key: value for key, value in run.content.items() if key != "kubernetes"},
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(run, run.name),
        "data": {SPEC_FILE: json.dumps(content, indent=2, sort_keys=True)},
    }


def progress_map(run: JobRun) -> dict[str, Any]:
    """Where the driver reports; made once, then the driver's alone."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(run, names.progress_name(run.name))}


def _role(run: JobRun) -> dict[str, Any]:
    """The driver may write into its own report, and nothing else."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": _metadata(run, run.name),
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["configmaps"],
                "resourceNames": [names.progress_name(run.name)],
                "verbs": ["get", "patch"],
            }
        ],
    }


def _role_binding(run: JobRun) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": _metadata(run, run.name),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": run.name},
        "subjects": [{"kind": "ServiceAccount", "name": run.service_account, "namespace": run.namespace}],
    }


def _network_policy(run: JobRun) -> dict[str, Any]:
    """Only the job's own pods, and KubeRay's operator in whichever namespace, reach its pods."""
    return network_policy(
        _metadata(run, run.name),
        {"matchLabels": {names.JOB_LABEL: run.job.metadata.name}},
        open_to_all=(),
        metrics=(RAY_METRICS_PORT,),
    )


def network_policy(
    metadata: Mapping[str, Any],
    selector: Mapping[str, Any],
    *,
    open_to_all: tuple[int, ...],
    metrics: tuple[int, ...],
) -> dict[str, Any]:
    """Pods that talk to each other; KubeRay's operator reaches Ray's dashboard, pods reach metrics, all some ports.

    Args:
        metadata: of the policy.
        selector: which pods.
        open_to_all: TCP ports that anything reaches.
        metrics: TCP ports that any pod of the cluster reaches, such as Prometheus.
    """
    operator = {
        "namespaceSelector": {},
        "podSelector": {"matchLabels": {"app.kubernetes.io/component": "kuberay-operator"}},
    }
    ingress: list[dict[str, Any]] = [
        {"from": [{"podSelector": dict(selector)}]},
        {"from": [operator], "ports": [{"protocol": "TCP", "port": port} for port in (8265, 8000)]},
        {"from": [{"namespaceSelector": {}}], "ports": [{"protocol": "TCP", "port": port} for port in metrics]},
    ]
    if open_to_all:
        ingress.append({"ports": [{"protocol": "TCP", "port": port} for port in open_to_all]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": dict(metadata),
        "spec": {"podSelector": dict(selector), "policyTypes": ["Ingress"], "ingress": ingress},
    }


def _cluster(run: JobRun) -> dict[str, Any]:
    """The Ray cluster: with shared storage a pod for each worker, else all workers in the head's pod."""
    scaling, placement = run.job.spec.scaling, run.job.spec.kubernetes
    shared = placement.storage is not None
    here = 0 if shared else scaling.workers
    head_gpus = 0 if shared else math.ceil(scaling.workers * scaling.gpus_per_worker)
    head = Pod(
        **_common(run),
        container="ray-head",
        cpus=_DRIVER_CPUS + here * scaling.cpus_per_worker + HEAD_START_CPUS,
        requested_cpus=_DRIVER_CPUS + here * scaling.cpus_per_worker,
        memory=placement.memory,
        gpus=head_gpus,
        computes=not shared,
        token=True,
        mounts={run.name: SPEC_FOLDER},
        env=_driver_environment(run),
    )
    cluster: dict[str, Any] = {
        "rayVersion": RAY_VERSION,
        "authOptions": {"mode": "token"},
        "headGroupSpec": {
            "rayStartParams": {
                "dashboard-host": "0.0.0.0",  # noqa: S104 (inside the pod; the NetworkPolicy says who reaches it)
                "num-cpus": f"{math.ceil(here * scaling.cpus_per_worker)}",
                "num-gpus": f"{head_gpus}",
            },
            "template": pod_template(head),
        },
    }
    if shared:
        cluster["workerGroupSpecs"] = [_workers(run)]
    return cluster


def _workers(run: JobRun) -> dict[str, Any]:
    scaling, placement = run.job.spec.scaling, run.job.spec.kubernetes
    # Trials of a search that take a share of a GPU sit together on one.
    together = max(1, int(1 / scaling.gpus_per_worker)) if 0 < scaling.gpus_per_worker < 1 else 1
    pods = math.ceil(scaling.workers / together)
    cpus = together * scaling.cpus_per_worker
    worker = Pod(
        **_common(run),
        container="ray-worker",
        cpus=cpus,
        memory=placement.memory,
        gpus=math.ceil(scaling.gpus_per_worker),
        computes=True,
        env=_storage_environment(run),
    )
    return {
        "groupName": "workers",
        "replicas": pods,
        "minReplicas": pods,
        "maxReplicas": pods,
        "rayStartParams": {"num-cpus": f"{math.ceil(cpus)}"},
        "template": pod_template(worker),
    }


def _submitter(run: JobRun) -> Pod:
    """Hands the driver to the cluster and then only passes its words on."""
    return Pod(**_common(run), container="ray-job-submitter", cpus=1, requested_cpus=0.1, memory=_SUBMITTER_MEMORY)


def _common(run: JobRun) -> dict[str, Any]:
    return {
        "image": run.defaults.train_image,
        "placement": run.job.spec.kubernetes,
        "defaults": run.defaults,
        "labels": {names.MANAGED_LABEL: names.MANAGED_BY, names.JOB_LABEL: run.job.metadata.name},
        "service_account": run.service_account,
    }


def _storage_environment(run: JobRun) -> dict[str, str]:
    storage = run.job.spec.kubernetes.storage
    return {} if storage is None else {"GRAFT_STORAGE": storage}


def _driver_environment(run: JobRun) -> dict[str, str]:
    """What the driver is told; on a volume its runs outlive the pod, so that a new cluster finds them."""
    storage = run.job.spec.kubernetes.storage
    on_volume = storage is not None and "://" not in storage
    home = {"GRAFT_HOME": f"{storage}/{run.namespace}/{run.job.metadata.name}"} if on_volume else {}
    report = {"GRAFT_REPORT": f"{run.namespace}/{names.progress_name(run.name)}"}
    return {**_storage_environment(run), **home, **report}
