"""Pods that ask for GPUs are placed where these are, and a job that asks for more than there is says so.

By a real scheduler, with KubeRay's operator, on a node that says it has GPUs. Nothing runs there.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from graftwork.cli.main import cli
from tests.e2e.conftest import Kubectl
from tests.e2e.kuberay import running_kuberay
from tests.e2e.operators import eventually, running_operator
from tests.unit.spec.examples import ENDPOINT, JOB, changed

_NODE = "made-up-gpus"
_GPUS = 2
_TAINT = {"key": "graftwork.dev/e2e", "value": "gpus", "effect": "NoSchedule"}
_LABELS = {"graftwork.dev/e2e": "gpus"}
# With a storage of their own workers have pods of their own; the head asks for no GPU and for no such node.
_PLACEMENT = {
    "workers": {"nodeSelector": _LABELS, "tolerations": [{**_TAINT, "operator": "Equal"}]},
    "storage": "s3://bucket/runs",
}


class GpuNode:
    """A node of which only the API server knows."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        kubectl.apply(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": _NODE, "labels": _LABELS},
                "spec": {"taints": [_TAINT]},
            }
        )
        amounts = {"cpu": "64", "memory": "256Gi", "pods": "110", "ephemeral-storage": "500Gi"}
        amounts["nvidia.com/gpu"] = str(_GPUS)
        now = _now()
        ready = {"type": "Ready", "status": "True", "reason": "MadeUp", "lastHeartbeatTime": now}
        status = {"capacity": amounts, "allocatable": amounts, "conditions": [{**ready, "lastTransitionTime": now}]}
        patch = ("node", _NODE, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
        assert kubectl("patch", *patch).returncode == 0
        self.lives()
        eventually(lambda: len(kubectl.get("node", _NODE)["spec"]["taints"]) == 1, "the node is taken for ready")

    def lives(self) -> None:
        """What a kubelet says every few seconds."""
        self._kubectl.apply(
            {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": _NODE, "namespace": "kube-node-lease"},
                "spec": {"holderIdentity": _NODE, "leaseDurationSeconds": 40, "renewTime": f"{_now()[:-1]}.000000Z"},
            }
        )

    def eventually(self, holds: Callable[[], bool], what: str) -> None:
        """Wait, while the node lives."""

        def look() -> bool:
            self.lives()
            return holds()

        eventually(look, what)


@pytest.fixture
def node(kubectl: Kubectl) -> Iterator[GpuNode]:
    yield GpuNode(kubectl)
    kubectl("delete", "node", _NODE)
    kubectl("delete", "lease", _NODE, "-n", "kube-node-lease")


@pytest.fixture
def operators(kubectl: Kubectl, namespace: str, tmp_path: Path) -> Iterator[None]:
    """Ours and KubeRay's."""
    log = tmp_path / "operator.log"
    with (
        running_kuberay(kubectl, namespace=namespace, log=tmp_path / "kuberay.log"),
        running_operator(kubectl.kubeconfig, name="gpus", namespaces=namespace, log=log),
    ):
        yield


def _job(name: str, scaling: dict[str, Any]) -> dict[str, Any]:
    job = changed(changed(JOB, ("spec", "scaling"), scaling), ("spec", "kubernetes"), _PLACEMENT)
    return {**changed(job, ("spec", "evaluation"), {}), "metadata": {"name": name}}


def _pods(kubectl: Kubectl, namespace: str, name: str) -> list[dict[str, Any]]:
    """Of a job or endpoint, those that compute."""
    selector = f"ray.io/node-type=worker,graftwork.dev/{'endpoint' if name == 'flowers' else 'job'}={name}"
    found: list[dict[str, Any]] = kubectl.get("pods", "-n", namespace, "-l", selector)["items"]
    return found


def _gpus(pod: dict[str, Any]) -> str:
    limits: dict[str, str] = pod["spec"]["containers"][0]["resources"]["limits"]
    return limits.get("nvidia.com/gpu", "0")


def _placed(pods: list[dict[str, Any]]) -> int:
    return sum(pod["spec"].get("nodeName") == _NODE for pod in pods)


@pytest.mark.usefixtures("operators", "ray_crds")
def test_workers_are_placed_on_gpus_and_want_of_them_is_told(
    kubectl: Kubectl, namespace: str, node: GpuNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers take the two GPUs; a third of another job waits, and `graft why` says for what."""
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", kubectl.kubeconfig)
    kubectl.apply(_job("two", {"workers": 2, "gpusPerWorker": 1}), "-n", namespace)
    node.eventually(lambda: _placed(_pods(kubectl, namespace, "two")) == _GPUS, "both workers are placed")
    assert [_gpus(pod) for pod in _pods(kubectl, namespace, "two")] == ["1", "1"]
    (head,) = kubectl.get("pods", "-n", namespace, "-l", "ray.io/node-type=head")["items"]
    assert (_placed([head]), _gpus(head)) == (0, "0")
    kubectl.apply(_job("third", {"workers": 1, "gpusPerWorker": 1}), "-n", namespace)

    def why() -> str:
        return CliRunner().invoke(cli, ["why", "third", "-n", namespace]).output

    node.eventually(lambda: "Insufficient nvidia.com/gpu" in why(), f"it is told: {why()}")
    assert "Ask for fewer GPUs (scaling.workers, scaling.gpusPerWorker), or add GPU nodes." in why()
    assert kubectl("delete", "ftj", "two", "-n", namespace).returncode == 0
    # What a kubelet would do of pods that are to go.
    kubectl("delete", "pods", "-n", namespace, "-l", "graftwork.dev/job=two", "--force", "--grace-period=0")
    node.eventually(lambda: _placed(_pods(kubectl, namespace, "third")) == 1, "the GPUs that became free are taken")


@pytest.mark.usefixtures("operators", "ray_crds")
def test_replicas_are_placed_on_gpus(kubectl: Kubectl, namespace: str, node: GpuNode) -> None:
    """Of an endpoint with `resources.gpus`."""
    endpoint = changed(ENDPOINT, ("spec", "models"), [{"model": "/models/flowers"}])
    endpoint = changed(endpoint, ("spec", "resources"), {"cpus": 2, "gpus": 1})
    endpoint = changed(endpoint, ("spec", "kubernetes"), {"workers": _PLACEMENT["workers"]})
    kubectl.apply(endpoint, "-n", namespace)
    node.eventually(lambda: _placed(_pods(kubectl, namespace, "flowers")) == 1, "a replica's pod is placed")
    assert [_gpus(pod) for pod in _pods(kubectl, namespace, "flowers")] == ["1"]


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
