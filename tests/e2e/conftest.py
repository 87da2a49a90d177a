"""Tests against a Kubernetes API server; `sh tests/e2e/run.sh` brings one up, and any kubeconfig will do."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from graftwork.spec.crd import crd_folder
from tests.e2e.operators import eventually

HOW = "needs a Kubernetes API server: run `sh tests/e2e/run.sh`, or pytest with --kubeconfig FILE"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what stands here, and skip it without a cluster."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            if config.getoption("--kubeconfig") is None:
                item.add_marker(pytest.mark.skip(reason=HOW))


@dataclass(frozen=True)
class Kubectl:
    """`kubectl` with one kubeconfig.

    Attributes:
        kubeconfig: file.
    """

    kubeconfig: str

    def __call__(self, *arguments: str, content: Any = None) -> subprocess.CompletedProcess[str]:
        """Run it, with a JSON object on standard input."""
        command = shutil.which("kubectl")
        assert command is not None, "kubectl is not on PATH"
        return subprocess.run(
            [command, "--kubeconfig", self.kubeconfig, *arguments],
            input=None if content is None else json.dumps(content),
            text=True,
            capture_output=True,
            check=False,
            timeout=120,
        )

    def get(self, *arguments: str) -> Any:
        """What `kubectl get` finds."""
        answer = self("get", *arguments, "-o", "json")
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)

    def apply(self, content: Any, *options: str) -> None:
        """`kubectl apply --server-side`."""
        answer = self("apply", "--server-side", "--force-conflicts", *options, "-f", "-", content=content)
        assert answer.returncode == 0, answer.stderr

    def install_crds(self) -> None:
        """Bring Graftwork's CRDs and wait until they are served."""
        installed = self("apply", "--server-side", "--force-conflicts", "-f", str(crd_folder()))
        assert installed.returncode == 0, installed.stderr
        crds = ("crd/finetunejobs.graftwork.dev", "crd/inferenceendpoints.graftwork.dev")
        # `kubectl wait` gives up at once on an object that has no conditions yet.
        eventually(lambda: self("wait", "--for=condition=Established", *crds).returncode == 0, "the CRDs are served")


@pytest.fixture(scope="session")
def kubectl_bare(pytestconfig: pytest.Config) -> Kubectl:
    """The cluster as it is."""
    return Kubectl(str(pytestconfig.getoption("--kubeconfig")))


@pytest.fixture(scope="session")
def kubectl(kubectl_bare: Kubectl) -> Kubectl:
    """The cluster, with the CRDs installed."""
    kubectl_bare.install_crds()
    return kubectl_bare


@pytest.fixture
def ray_crds(kubectl: Kubectl) -> None:
    """Skip without KubeRay's CRDs."""
    if kubectl("get", "crd", "rayjobs.ray.io").returncode != 0:
        pytest.skip("needs KubeRay's CRDs: set KUBERAY_CRDS to their folder, see tests/e2e/run.sh")


@pytest.fixture
def namespace(kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"e2e-{abs(hash(request.node.nodeid)) % 10**8}"
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    kubectl("delete", "namespace", name, "--wait=false")
