from __future__ import annotations

import ipaddress
import json
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from graftwork.api_keys import KEYS_FOLDER
from graftwork.controller.aliases import MlflowAliases
from graftwork.controller.endpoint_objects import EndpointRun, endpoint_objects
from graftwork.controller.job_objects import JobRun, job_objects
from graftwork.controller.pods import RAY_VERSION, PodDefaults
from graftwork.errors import PermanentError, TransientError
from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork.spec.inference_endpoint import InferenceEndpoint
from tests.unit.spec.examples import ENDPOINT, JOB, changed

DEFAULTS = PodDefaults(train_image="train:1", serve_image="serve:1", tracking_uri="http://mlflow:5000")
PLACEMENT = {
    "storage": "/data/runs",
    "volumes": [{"claim": "shared", "path": "/data"}],
    "env": [{"name": "TOKEN", "secret": {"name": "hub", "key": "token"}}, {"name": "HOME", "value": "/data/home"}],
    "envFrom": ["s3"],
    "nodeSelector": {"pool": "gpu"},
    "tolerations": [{"key": "spot", "effect": "NoSchedule"}],
    "priorityClass": "high",
    "imagePullSecrets": ["registry"],
    "image": "mine:2",
    "memory": "8Gi",
    "retries": 5,
    "deadline": "2h",
    "startDeadline": "30m",
    "queue": "team",
}


def _job(**placement: Any) -> list[dict[str, Any]]:
    content = changed(JOB, ("spec", "kubernetes"), placement) if placement else JOB
    job = FineTuneJob.model_validate(content)
    return job_objects(JobRun(job=job, uid="u", content=content["spec"], namespace="team", defaults=DEFAULTS))


def _endpoint(**changes: Any) -> list[dict[str, Any]]:
    content = ENDPOINT
    for key, value in changes.items():
        content = changed(content, ("spec", key), value)
    content = {**content, "spec": {key: value for key, value in content["spec"].items() if value is not None}}
    endpoint = InferenceEndpoint.model_validate(content)
    return endpoint_objects(
        EndpointRun(
            endpoint=endpoint,
            uid="u",
            content=content["spec"],
            namespace="team",
            defaults=DEFAULTS,
            resolved={"flowers@champion": "flowers/1"},
        )
    )


def _pods(objects: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All pod specs in some objects."""
    waiting: list[Any] = list(objects)
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            if "containers" in each:
                yield each
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each


def _pod(objects: list[dict[str, Any]], container: str) -> dict[str, Any]:
    (found,) = [pod for pod in _pods(objects) if pod["containers"][0]["name"] == container]
    return found


@pytest.mark.parametrize("objects", [_job(), _job(**PLACEMENT), _endpoint()])
def test_every_pod_passes_the_restricted_standard(objects: list[dict[str, Any]]) -> None:
    """Non-root, no privileges, nothing writable but its own folders.

    Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    pods = list(_pods(objects))
    assert len(pods) >= 2
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["readOnlyRootFilesystem"] is True
            resources = container["resources"]
            assert resources["limits"]["memory"] == resources["requests"]["memory"]
            # Whoever computes has what it may use; heads and the submitter may take more while they start.
            assert container["name"] != "ray-worker" or resources["limits"] == resources["requests"]


def test_ray_is_the_locked_one() -> None:
    """KubeRay is told the version that the images hold."""
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    assert f"ray[train]=={RAY_VERSION}" in extras["train"]
    assert f"ray[serve]=={RAY_VERSION}" in extras["serve"]


def test_only_the_driver_holds_a_token() -> None:
    """The head may report; workers and submitter cannot talk to the API server."""
    objects = _job(**PLACEMENT)
    tokens = {pod["containers"][0]["name"]: pod["automountServiceAccountToken"] for pod in _pods(objects)}
    assert tokens == {"ray-head": True, "ray-worker": False, "ray-job-submitter": False}
    (role,) = [each for each in objects if each["kind"] == "Role"]
    assert role["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": [f"{role['metadata']['name']}-progress"],
            "verbs": ["get", "patch"],
        }
    ]


def test_placement_reaches_every_pod() -> None:
    """What the `kubernetes` section says is in all pods of the job."""
    for pod in _pods(_job(**PLACEMENT)):
        (container,) = pod["containers"]
        assert container["image"] == "mine:2"
        assert pod["nodeSelector"] == {"pool": "gpu"}
        assert pod["tolerations"] == [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}]
        assert pod["priorityClassName"] == "high"
        assert pod["imagePullSecrets"] == [{"name": "registry"}]
        assert {"secretRef": {"name": "s3"}} in container["envFrom"]
        assert {"name": "volume-0", "mountPath": "/data", "readOnly": False} in container["volumeMounts"]
        environment = {each["name"]: each for each in container["env"]}
        assert len(environment) == len(container["env"])
        assert environment["TOKEN"]["valueFrom"] == {"secretKeyRef": {"name": "hub", "key": "token"}}
        assert environment["HOME"]["value"] == "/data/home"


def test_ray_job_carries_budgets_and_queue() -> None:
    """Retries, deadlines and the queue are KubeRay's and Kueue's to keep."""
    ray_job = _job(**PLACEMENT)[-1]
    spec = ray_job["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"], spec["preRunningDeadlineSeconds"]) == (5, 7200, 1800)
    assert ray_job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"


def test_workers_have_pods_of_their_own_on_shared_storage() -> None:
    """Four workers with a GPU each are four pods; without shared storage one pod holds them all."""
    spread = _job(**PLACEMENT)[-1]["spec"]["rayClusterSpec"]
    (group,) = spread["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (4, 4, 4)
    assert _pod([group], "ray-worker")["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    together = _job()[-1]["spec"]["rayClusterSpec"]
    assert "workerGroupSpecs" not in together
    head = _pod([together], "ray-head")
    assert head["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert together["headGroupSpec"]["rayStartParams"]["num-cpus"] == "4"


def test_only_what_computes_goes_to_the_nodes_for_it() -> None:
    """The head, whose loss ends the run, keeps away from spot nodes, and GPUs are not taken up by pods without need."""
    where = {
        "nodeSelector": {"team": "birds"},
        "workers": {"nodeSelector": {"gpu": "l4"}, "tolerations": [{"key": "spot"}]},
        "topology": {"pack": "topology.kubernetes.io/zone"},
    }
    cluster = _job(**PLACEMENT | where)[-1]["spec"]["rayClusterSpec"]
    head, worker = _pod([cluster], "ray-head"), _pod([cluster], "ray-worker")
    assert head["nodeSelector"] == {"team": "birds"}
    assert worker["nodeSelector"] == {"team": "birds", "gpu": "l4"}
    assert {"key": "spot", "operator": "Exists"} in worker["tolerations"]
    assert {"key": "spot", "operator": "Exists"} not in head.get("tolerations", [])
    (term,) = worker["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert term["podAffinityTerm"]["topologyKey"] == "topology.kubernetes.io/zone"
    chosen = term["podAffinityTerm"]["labelSelector"]["matchLabels"]
    assert chosen["graftwork.dev/job"] == "flowers"
    assert chosen["ray.io/node-type"] == "worker"
    assert "affinity" not in head
    # One pod for all: it computes.
    alone = _pod(_job(**where), "ray-head")
    assert alone["nodeSelector"] == {"team": "birds", "gpu": "l4"}


def test_replicas_are_spread() -> None:
    """Over zones, for example; the head is none of them."""
    where = {"topology": {"spread": "zone"}, "workers": {"nodeSelector": {"gpu": "l4"}}}
    cluster = _endpoint(kubernetes=where)[-1]["spec"]["rayClusterConfig"]
    worker, head = _pod([cluster], "ray-worker"), _pod([cluster], "ray-head")
    (constraint,) = worker["topologySpreadConstraints"]
    assert (constraint["topologyKey"], constraint["whenUnsatisfiable"]) == ("zone", "ScheduleAnyway")
    assert constraint["labelSelector"]["matchLabels"]["graftwork.dev/endpoint"] == "flowers"
    assert worker["nodeSelector"] == {"gpu": "l4"}
    assert "nodeSelector" not in head
    assert "topologySpreadConstraints" not in head


def test_trials_that_share_a_gpu_share_a_pod() -> None:
    """With half a GPU for each, it has one GPU and the cores of two."""
    content = changed(
        changed(JOB, ("spec", "scaling"), {"workers": 1, "gpusPerWorker": 0.5, "cpusPerWorker": 2}),
        ("spec", "kubernetes"),
        {"storage": "s3://bucket/runs"},
    )
    job = FineTuneJob.model_validate(content)
    objects = job_objects(JobRun(job=job, uid="u", content=content["spec"], namespace="t", defaults=DEFAULTS))
    (group,) = objects[-1]["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert (group["replicas"], group["rayStartParams"]["num-cpus"]) == (1, "4")


def test_runs_on_a_volume_outlive_their_cluster() -> None:
    """The driver keeps its runs below the storage, so that the next cluster's driver finds them."""
    head = _pod(_job(**PLACEMENT), "ray-head")
    environment = {each["name"]: each.get("value") for each in head["containers"][0]["env"]}
    assert environment["GRAFT_STORAGE"] == "/data/runs"
    assert environment["GRAFT_HOME"] == "/data/runs/team/flowers"


def test_other_bounds_are_another_cluster() -> None:
    """KubeRay leaves the bounds of a cluster that runs as they are, and follows its pods' template."""

    def template(most: int) -> dict[str, Any]:
        objects = _endpoint(autoscaling={"minReplicas": 1, "maxReplicas": most})
        (service,) = [each for each in objects if each["kind"] == "RayService"]
        found: dict[str, Any] = service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]
        return found

    assert template(2) == template(2)
    assert template(2) != template(3)


def test_endpoint_scales_between_its_bounds() -> None:
    """Serve and the cluster's autoscaler are told the same bounds."""
    ray_service = _endpoint(autoscaling={"minReplicas": 2, "maxReplicas": 5})[-1]
    (application,) = yaml.safe_load(ray_service["spec"]["serveConfigV2"])["applications"]
    (deployment,) = application["deployments"]
    assert deployment["autoscaling_config"]["min_replicas"] == 2
    assert deployment["autoscaling_config"]["max_replicas"] == 5
    (group,) = ray_service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert (group["minReplicas"], group["maxReplicas"]) == (2, 5)


@pytest.mark.parametrize(("share", "whole"), [(1, "1"), (0.25, "1")])
def test_replicas_on_gpus(share: float, whole: str) -> None:
    """Serve hands out the share; a pod has whole ones. Without, nothing is said: running endpoints stay as they are."""
    ray_service = _endpoint(resources={"gpus": share})[-1]
    (application,) = yaml.safe_load(ray_service["spec"]["serveConfigV2"])["applications"]
    assert application["deployments"][0]["ray_actor_options"]["num_gpus"] == share
    (group,) = ray_service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert _pod([group], "ray-worker")["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == whole
    assert "gpu" not in json.dumps(_endpoint()[-1])


def test_grpc_has_a_service_to_the_replicas() -> None:
    """With `grpc` there is a Service, its port is the one that replicas are told, and the NetworkPolicy opens it."""
    objects = _endpoint(grpc={"port": 9999})
    (service,) = [each for each in objects if each["metadata"]["name"] == "flowers-grpc"]
    (port,) = service["spec"]["ports"]
    (application,) = yaml.safe_load(objects[-1]["spec"]["serveConfigV2"])["applications"]
    told = application["deployments"][0]["user_config"]["endpoint"]["spec"]["grpc"]
    assert told["port"] == port["targetPort"]
    assert ipaddress.ip_address(told["host"]).is_unspecified
    labels = objects[-1]["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["metadata"]["labels"]
    # The node type is KubeRay's own label.
    assert service["spec"]["selector"].items() <= {**labels, "ray.io/node-type": "worker"}.items()
    (policy,) = [each for each in objects if each["kind"] == "NetworkPolicy"]
    assert port["targetPort"] in {each["port"] for rule in policy["spec"]["ingress"] for each in rule.get("ports", ())}


def test_metrics_have_a_port_that_prometheus_reaches() -> None:
    """Replicas are told the port that their pod names, and pods of any namespace reach it, and Ray's."""
    objects = _endpoint()
    (container,) = objects[-1]["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]["containers"]
    (port,) = container["ports"]
    assert port["name"] == "graft-metrics"
    (application,) = yaml.safe_load(objects[-1]["spec"]["serveConfigV2"])["applications"]
    assert application["args"]["metrics_port"] == port["containerPort"]
    (policy,) = [each for each in objects if each["kind"] == "NetworkPolicy"]
    everywhere: list[Any] = [{"namespaceSelector": {}}]
    (rule,) = [each for each in policy["spec"]["ingress"] if each.get("from") == everywhere]
    assert {each["port"] for each in rule["ports"]} == {port["containerPort"], 8080}


def test_without_grpc_nothing_listens_for_it() -> None:
    """Neither a Service nor an open port, and replicas are told of none."""
    objects = _endpoint(grpc=None)
    assert "grpc" not in yaml.safe_dump(objects).lower()
    assert not [each for each in objects if each["metadata"]["name"] == "flowers-grpc"]


def test_ingress_leads_to_kuberays_service() -> None:
    """The host's requests go to the Service of the replicas' proxies, with TLS where a certificate is named."""
    ingress = {"className": "nginx", "tlsSecret": "cert", "annotations": {"nginx.ingress.kubernetes.io/a": "b"}}
    objects = _endpoint(kubernetes={"expose": {"host": "a.example.org", "ingress": ingress}})
    (made,) = [each for each in objects if each["kind"] == "Ingress"]
    (rule,) = made["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    assert (rule["host"], backend) == ("a.example.org", {"name": "flowers-serve-svc", "port": {"number": 8000}})
    assert made["spec"]["tls"] == [{"hosts": ["a.example.org"], "secretName": "cert"}]
    assert made["metadata"]["annotations"] == {"nginx.ingress.kubernetes.io/a": "b"}
    assert made["metadata"]["ownerReferences"][0]["uid"] == "u"


def test_route_names_its_gateway() -> None:
    """The HTTPRoute hangs on the Gateway's listener that the spec names."""
    gateway = {"name": "public", "namespace": "infra", "listener": "https"}
    objects = _endpoint(kubernetes={"expose": {"host": "a.example.org", "gateway": gateway}})
    (made,) = [each for each in objects if each["kind"] == "HTTPRoute"]
    assert made["spec"]["parentRefs"] == [{"name": "public", "namespace": "infra", "sectionName": "https"}]
    assert made["spec"]["hostnames"] == ["a.example.org"]
    assert made["spec"]["rules"][0]["backendRefs"] == [{"name": "flowers-serve-svc", "port": 8000}]


def test_the_submitter_sets_little_aside() -> None:
    """For as long as a job trains, the pod that passes its words on takes no core from others."""
    resources = _pod(_job(**PLACEMENT), "ray-job-submitter")["containers"][0]["resources"]
    assert float(resources["requests"]["cpu"]) < 0.2
    assert float(resources["limits"]["cpu"]) >= 1


def test_keys_are_where_replicas_look_for_them() -> None:
    """The Secret is mounted read-only beside the replicas, whose configuration names no key; the head has none."""
    objects = _endpoint()
    pod = _pod(objects, "ray-worker")
    (volume,) = [each for each in pod["volumes"] if "secret" in each]
    assert volume["secret"]["secretName"] == "flowers-keys"
    (mount,) = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == volume["name"]]
    assert (mount["mountPath"], mount["readOnly"]) == (KEYS_FOLDER, True)
    assert not any("secret" in each for each in _pod(objects, "ray-head")["volumes"])
    assert not any("secret" in each for each in _pod(_endpoint(auth="none"), "ray-worker")["volumes"])


def test_no_right_is_given_to_an_endpoint() -> None:
    """An endpoint's pods hold no token, unless Ray's autoscaler needs one beside the head."""
    fixed = _endpoint(autoscaling={"minReplicas": 2, "maxReplicas": 2})
    assert not any(pod["automountServiceAccountToken"] for pod in _pods(fixed))
    assert not any(each["kind"] in {"Role", "RoleBinding"} for each in fixed)


def test_aliases_without_a_server_are_explained() -> None:
    """No MLflow server at all is nothing to retry; one that is away is."""
    with pytest.raises(PermanentError, match="trackingUri"):
        MlflowAliases(None)("flowers@champion")
    with pytest.raises(TransientError, match="does not answer"):
        MlflowAliases("http://127.0.0.1:9")("flowers@champion")


def test_a_silent_server_is_asked_once_in_a_while() -> None:
    """So that objects do not wait for it one after the other; and it is asked again."""
    asked: list[str] = []
    now = [0.0]

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params["name"])
        if len(asked) == 1:
            raise httpx.ReadTimeout("nothing", request=request)
        return httpx.Response(200, json={"model_version": {"version": "3"}})

    aliases = MlflowAliases("http://mlflow", httpx.Client(transport=httpx.MockTransport(answer)), lambda: now[0])
    for name in ("a", "b"):
        with pytest.raises(TransientError, match="does not answer"):
            aliases(f"{name}@champion")
    assert asked == ["a"]
    now[0] = 60.0
    assert aliases("b@champion") == "b/3"


@pytest.mark.parametrize(("least", "on_head"), [(0, False), (2, True)])
def test_where_there_may_be_no_replica_the_head_takes_requests(least: int, on_head: bool) -> None:
    """Somebody has to hold the request that wakes one; otherwise it has better things to do."""
    objects = _endpoint(autoscaling={"minReplicas": least, "maxReplicas": 2}, grpc=None)
    (service,) = [each for each in objects if each["kind"] == "RayService"]
    assert service["spec"]["excludeHeadPodFromServeSvc"] is on_head
    (budget,) = [each for each in objects if each["kind"] == "PodDisruptionBudget"]
    assert budget["spec"]["minAvailable"] == least


@pytest.mark.parametrize("objects", [_job(), _job(**PLACEMENT), _endpoint()], ids=["job", "placed job", "endpoint"])
def test_objects_obey_the_kubernetes_schemas(objects: list[dict[str, Any]]) -> None:
    """Every object of Kubernetes' own kinds is valid; pods of Ray's objects too."""
    import kubernetes_validate

    version = kubernetes_validate.latest_version()
    for manifest in objects:
        if manifest["apiVersion"] != "ray.io/v1":
            kubernetes_validate.validate(manifest, version, strict=True)
    for pod in _pods(objects):
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": pod}
        kubernetes_validate.validate(whole, version, strict=True)


def test_images_of_a_registry_of_ones_own_are_pulled_everywhere() -> None:
    """With the credentials the operator was installed with, and those of the spec; none is named twice."""
    content = changed(JOB, ("spec", "kubernetes"), {"imagePullSecrets": ["mine", "ours"]})
    defaults = replace(DEFAULTS, pull_secrets=("ours",))
    run = JobRun(
        job=FineTuneJob.model_validate(content), uid="u", content=content["spec"], namespace="team", defaults=defaults
    )
    named = [pod["imagePullSecrets"] for pod in _pods(job_objects(run))]
    assert named == [[{"name": "ours"}, {"name": "mine"}]] * len(named)
    assert named
