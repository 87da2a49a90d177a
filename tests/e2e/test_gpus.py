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

_GPUS = 2
_TAINT = {"key": "graftwork.dev/e2e", "value": "gpus", "effect": "NoSchedule"}
_LABELS = {"graftwork.dev/e2e": "gpus"}
# With a storage of their own workers have pods of their own; the head asks for no GPU and for no such node.
_PLACEMENT = {
    "workers": {"nodeSelector": _LABELS, "tolerations": [{**_TAINT, "operator": "Equal"}]},
    "storage": "s3://bucket/runs",
}


class Nodes:
    """One with GPUs and one without, of which only the API server knows."""

    def __init__(self, kubectl: Kubectl, namespace: str) -> None:
        self._kubectl = kubectl
        # Of this test alone: pods of another one that nobody ends go on to hold what nodes of their names have.
        self.gpus, self.plain = f"gpus-{namespace}", f"plain-{namespace}"
        self._make(self.gpus, {"labels": _LABELS}, [_TAINT], {"nvidia.com/gpu": str(_GPUS)})
        self._make(self.plain, {}, [], {})
        self.live()
        eventually(lambda: self._taints() == [1, 0], "the nodes are taken for ready")

    def _make(self, name: str, metadata: dict[str, Any], taints: list[Any], more: dict[str, str]) -> None:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, **metadata}, "spec": {"taints": taints}}
        self._kubectl.apply(node)
        amounts = {"cpu": "64", "memory": "256Gi", "pods": "110", "ephemeral-storage": "500Gi", **more}
        times = dict.fromkeys(("lastHeartbeatTime", "lastTransitionTime"), _now())
        ready = {"type": "Ready", "status": "True", "reason": "MadeUp", **times}
        status = {"capacity": amounts, "allocatable": amounts, "conditions": [ready]}
        patch = ("node", name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
        assert self._kubectl("patch", *patch).returncode == 0

    def _taints(self) -> list[int]:
        return [len(self._kubectl.get("node", name)["spec"].get("taints", [])) for name in (self.gpus, self.plain)]

    def live(self) -> None:
        """What kubelets say every few seconds."""
        for name in (self.gpus, self.plain):
            self._kubectl.apply(
                {
                    "apiVersion": "coordination.k8s.io/v1",
                    "kind": "Lease",
                    "metadata": {"name": name, "namespace": "kube-node-lease"},
                    "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": f"{_now()[:-1]}.000000Z"},
                }
            )

    def holds(self, pods: list[dict[str, Any]]) -> int:
        """How many of some pods are placed on the GPUs."""
        return sum(pod["spec"].get("nodeName") == self.gpus for pod in pods)

    def end(self) -> None:
        """The pods on them end with them."""
        for name in (self.gpus, self.plain):
            self._kubectl("delete", "node", name)
            self._kubectl("delete", "lease", name, "-n", "kube-node-lease")

    def eventually(self, holds: Callable[[], bool], what: str) -> None:
        """Wait, while the nodes live."""

        def look() -> bool:
            self.live()
            return holds()

        eventually(look, what)


@pytest.fixture
def nodes(kubectl: Kubectl, namespace: str) -> Iterator[Nodes]:
    """Both, until the test is over."""
    made = Nodes(kubectl, namespace)
    yield made
    made.end()


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


@pytest.mark.usefixtures("operators", "ray_crds")
def test_workers_are_placed_on_gpus_and_want_of_them_is_told(
    kubectl: Kubectl, namespace: str, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers take the two GPUs; a third of another job waits, and `graft why` says for what."""
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", kubectl.kubeconfig)
    kubectl.apply(_job("two", {"workers": 2, "gpusPerWorker": 1}), "-n", namespace)
    nodes.eventually(lambda: nodes.holds(_pods(kubectl, namespace, "two")) == _GPUS, "both workers are placed")
    assert [_gpus(pod) for pod in _pods(kubectl, namespace, "two")] == ["1", "1"]
    (head,) = kubectl.get("pods", "-n", namespace, "-l", "ray.io/node-type=head")["items"]
    assert (head["spec"]["nodeName"], _gpus(head)) == (nodes.plain, "0")
    kubectl.apply(_job("third", {"workers": 1, "gpusPerWorker": 1}), "-n", namespace)

    def why() -> str:
        return CliRunner().invoke(cli, ["why", "third", "-n", namespace]).output

    nodes.eventually(lambda: "Insufficient nvidia.com/gpu" in why(), "it is told")
    assert "Ask for fewer GPUs (scaling.workers, scaling.gpusPerWorker), or add GPU nodes." in why()
    assert kubectl("delete", "ftj", "two", "-n", namespace).returncode == 0
    # What a kubelet would do of pods that are to go.
    kubectl("delete", "pods", "-n", namespace, "-l", "graftwork.dev/job=two", "--force", "--grace-period=0")
    nodes.eventually(
        lambda: nodes.holds(_pods(kubectl, namespace, "third")) == 1, "the GPUs that became free are taken"
    )


@pytest.mark.usefixtures("operators", "ray_crds")
def test_replicas_are_placed_on_gpus(kubectl: Kubectl, namespace: str, nodes: Nodes) -> None:
    """Of an endpoint with `resources.gpus`."""
    endpoint = changed(ENDPOINT, ("spec", "models"), [{"model": "/models/flowers"}])
    endpoint = changed(endpoint, ("spec", "resources"), {"cpus": 2, "gpus": 1})
    endpoint = changed(endpoint, ("spec", "kubernetes"), {"workers": _PLACEMENT["workers"]})
    kubectl.apply(endpoint, "-n", namespace)
    nodes.eventually(lambda: nodes.holds(_pods(kubectl, namespace, "flowers")) == 1, "a replica's pod is placed")
    assert [_gpus(pod) for pod in _pods(kubectl, namespace, "flowers")] == ["1"]


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
