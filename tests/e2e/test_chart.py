"""The chart on a real API server: installed by Helm, looked at as a user would; no node runs its pods."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from graftwork.cli.smoke_test import NAME, SmokeTest
from graftwork.controller.cluster import connect
from graftwork.errors import PermanentError
from tests.e2e.conftest import Kubectl

# Helm has its own, shorter one for whatever it waits for.
_MOST_S = 2700
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
        answer = self.attempt(*arguments)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    def attempt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run what may fail."""
        command = [*self._command, *arguments]
        return subprocess.run(command, text=True, capture_output=True, check=False, timeout=_MOST_S)


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


@pytest.mark.usefixtures("ray_crds")
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


@pytest.mark.usefixtures("ray_crds")
def test_namespaced_mode_ends_at_its_namespaces(kubectl: Kubectl, helm: Helm, namespace: str) -> None:
    """Told its namespaces, the operator has no right anywhere else."""
    helm("install", "graft", str(CHART), "--set", f"namespaces={{{namespace}}}")
    account = f"system:serviceaccount:{namespace}:graft-operator"
    assert _may(kubectl, account, "create", "rayjobs.ray.io", namespace)
    assert not _may(kubectl, account, "create", "rayjobs.ray.io", "default")
    assert not _may(kubectl, account, "list", "finetunejobs.graftwork.dev", "default")


@pytest.mark.usefixtures("ray_crds")
def test_what_could_not_work_is_refused_before_it_is_half_there(helm: Helm, namespace: str) -> None:
    """A namespace that is missing, and a second operator for everything: nothing is installed, and the fix is named."""
    missing = helm.attempt("install", "graft", str(CHART), "--set", "namespaces={no-such-place}")
    assert missing.returncode != 0
    assert "kubectl create namespace no-such-place" in missing.stderr
    helm("install", "graft", str(CHART))
    second = helm.attempt("install", "other", str(CHART), "--set", "crds.install=false")
    assert second.returncode != 0
    assert "release graft already looks after all namespaces" in second.stderr
    helm("upgrade", "graft", str(CHART), "--force-conflicts")
    helm("install", "other", str(CHART), "--set", f"crds.install=false,namespaces={{{namespace}}}", "--dry-run=server")


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


def test_helm_test_has_the_rights_it_needs(kubectl: Kubectl, helm: Helm, namespace: str, tmp_path: Path) -> None:
    """In the name of its ServiceAccount what `helm test` runs goes through; the test plays operator and pods."""
    helm("install", "graft", str(CHART), "--set", f"namespaces={{{namespace}}}")
    hooks = [each for each in yaml.safe_load_all(helm("get", "hooks", "graft")) if each["kind"] != "Pod"]
    for hook in hooks:
        kubectl.apply(hook)
    config = yaml.safe_load(Path(kubectl.kubeconfig).read_text())
    config["users"][0]["user"] = {
        "token": kubectl("create", "token", "graft-helm-test", "-n", namespace).stdout.strip()
    }
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    ends = {
        "finetunejob": {"phase": "Succeeded", "model": f"{NAME}/1"},
        "inferenceendpoint": {"phase": "Ready", "url": "http://there:8000"},
    }

    def operator_works(_: float) -> None:
        for kind, status in ends.items():
            where = (kind, NAME, "-n", namespace, "--subresource=status", "--type=merge")
            kubectl("patch", *where, "-p", json.dumps({"status": status}))

    said: list[str] = []
    SmokeTest(
        cluster=connect(str(kubeconfig))[0],
        namespace=namespace,
        registry="http://mlflow:5000",
        ask=lambda _: {"predictions": [{"scores": {"yes": 1.0}}]},
        forget=lambda _: None,
        sleep=operator_works,
        say=said.append,
    ).run(timeout_s=60)
    assert said[-1] == "All is well."
    assert kubectl("get", "finetunejobs,inferenceendpoints", "-n", namespace, "-o", "name").stdout == ""
    account = f"system:serviceaccount:{namespace}:graft-helm-test"
    assert not _may(kubectl, account, "delete", "finetunejobs.graftwork.dev", namespace)
    assert not _may(kubectl, account, "create", "pods", namespace)


def test_helm_test_says_why_nothing_comes_about(kubectl: Kubectl, helm: Helm, namespace: str) -> None:
    """Where no pod of the operator's runs, the reason is just that."""
    helm("install", "graft", str(CHART))
    clock = itertools.count()
    test = SmokeTest(
        cluster=connect(kubectl.kubeconfig)[0],
        namespace=namespace,
        registry=None,
        clock=lambda: float(next(clock)),
        sleep=lambda _: None,
        say=lambda _: None,
    )
    with pytest.raises(PermanentError, match="OperatorAbsent"):
        test.run(timeout_s=5)
