"""The chart on a real API server: installed by Helm, looked at as a user would; no node runs its pods."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Kubectl

CHART = Path(__file__).parents[2] / "helm" / "graftwork"


class Helm:
    """`helm` on the test's cluster.

    Attributes:
        kubeconfig: file.
        namespace: of the release.
    """

    def __init__(self, kubeconfig: str, namespace: str) -> None:
        command = shutil.which("helm")
        if command is None:
            pytest.skip("needs helm on PATH: sh tests/e2e/cluster/build.sh helm")
        self._command = [command, "--kubeconfig", kubeconfig, "--namespace", namespace]

    def __call__(self, *arguments: str) -> str:
        """Run it; what it printed."""
        answer = subprocess.run([*self._command, *arguments], text=True, capture_output=True, check=False, timeout=120)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout


@pytest.fixture
def helm(kubectl: Kubectl, namespace: str) -> Iterator[Helm]:
    helm = Helm(kubectl.kubeconfig, namespace)
    # The CRDs of this session were not Helm's; what they describe stays while they change hands.
    owner = ["crd/finetunejobs.graftwork.dev", "crd/inferenceendpoints.graftwork.dev"]
    kubectl(
        "annotate",
        "--overwrite",
        *owner,
        "meta.helm.sh/release-name=graft",
        f"meta.helm.sh/release-namespace={namespace}",
    )
    kubectl("label", "--overwrite", *owner, "app.kubernetes.io/managed-by=Helm")
    yield helm
    helm("uninstall", "graft", "--ignore-not-found")


def _may(kubectl: Kubectl, account: str, verb: str, resource: str, namespace: str) -> bool:
    kind, _, subresource = resource.partition("/")
    narrowed = [f"--subresource={subresource}"] if subresource else []
    answer = kubectl("auth", "can-i", verb, kind, *narrowed, f"--as={account}", "-n", namespace)
    return answer.stdout.strip() == "yes"


def test_cluster_mode_has_the_rights_it_needs_and_no_more(kubectl: Kubectl, helm: Helm, namespace: str) -> None:
    """The operator's account may do its work everywhere; it reads no Secrets, runs no pods, changes no specs."""
    assert "STATUS: deployed" in helm("install", "graft", str(CHART))
    account = f"system:serviceaccount:{namespace}:graft-operator"
    assert _may(kubectl, account, "create", "rayjobs.ray.io", "default")
    assert _may(kubectl, account, "patch", "finetunejobs.graftwork.dev/status", "default")
    for verb, resource in (
        ("get", "secrets"),
        ("list", "secrets"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("patch", "finetunejobs.graftwork.dev"),
        ("create", "clusterroles.rbac.authorization.k8s.io"),
        ("impersonate", "serviceaccounts"),
    ):
        assert not _may(kubectl, account, verb, resource, "default"), f"{verb} {resource}"


def test_namespaced_mode_ends_at_its_namespaces(kubectl: Kubectl, helm: Helm, namespace: str) -> None:
    """Told its namespaces, the operator has no right anywhere else."""
    helm("install", "graft", str(CHART), "--set", f"namespaces={{{namespace}}}")
    account = f"system:serviceaccount:{namespace}:graft-operator"
    assert _may(kubectl, account, "create", "rayjobs.ray.io", namespace)
    assert not _may(kubectl, account, "create", "rayjobs.ray.io", "default")
    assert not _may(kubectl, account, "list", "finetunejobs.graftwork.dev", "default")


def test_pods_are_admitted_under_the_restricted_standard(kubectl: Kubectl, helm: Helm, namespace: str) -> None:
    """The operator's pods appear in a namespace that enforces pod security "restricted"."""
    labelled = kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    assert labelled.returncode == 0
    helm("install", "graft", str(CHART))
    waited = kubectl(
        "wait", "-n", namespace, "deployment/graft-operator", "--for=jsonpath={.status.replicas}=2", "--timeout=60s"
    )
    assert waited.returncode == 0, kubectl("get", "events", "-n", namespace).stdout
    assert len(kubectl.get("pods", "-n", namespace)["items"]) == 2


def test_upgrade_brings_crds_and_uninstall_leaves_them(kubectl: Kubectl, helm: Helm, namespace: str) -> None:
    """`helm upgrade` mends an outdated CRD, which Helm's own crds/ folder never would; `helm uninstall` keeps it."""
    helm("install", "graft", str(CHART))
    outdated = '[{"op": "remove", "path": "/spec/versions/0/additionalPrinterColumns"}]'
    patched = kubectl("patch", "crd", "finetunejobs.graftwork.dev", "--type=json", "-p", outdated)
    assert patched.returncode == 0, patched.stderr
    helm("upgrade", "graft", str(CHART), "--set", "replicas=1", "--force-conflicts")
    crd = kubectl.get("crd", "finetunejobs.graftwork.dev")
    columns = [each["name"] for each in crd["spec"]["versions"][0]["additionalPrinterColumns"]]
    assert columns == ["Phase", "Progress", "Accuracy", "Model", "Age"]
    helm("uninstall", "graft")
    assert kubectl("get", "crd", "finetunejobs.graftwork.dev").returncode == 0
    assert kubectl.get("deployments", "-n", namespace)["items"] == []
