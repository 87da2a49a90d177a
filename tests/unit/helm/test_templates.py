"""What the chart renders; without `helm` these are skipped, `sh tests/e2e/cluster/build.sh helm` builds one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from graftwork.cli import smoke_test
from graftwork.cli.main import COMMANDS, cli
from graftwork.spec.crd import CHART_DIR, crd_of
from graftwork.spec.load import KINDS

_CACHE = Path.home() / ".cache" / "graftwork-e2e"
_BUILT = sorted(_CACHE.glob("*/bin/helm"))
HELM = shutil.which("helm") or (str(_BUILT[-1]) if _BUILT else None)
pytestmark = pytest.mark.skipif(HELM is None, reason="needs helm: run `sh tests/e2e/cluster/build.sh helm`")

VALUES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "namespaced": {"namespaces": ["team-a", "team-b"]},
    "registry": {"mlflow": {"server": {"enabled": True}}},
    "everything": {
        "metrics": {"monitors": True, "alerts": True, "dashboards": True},
        "mlflow": {
            "server": {
                "enabled": True,
                "databaseSecret": "database",
                "artifacts": "s3://bucket/models",
                "envFrom": ["storage"],
                "hosts": ["mlflow.example.org"],
            }
        },
        "podSecrets": ["storage"],
        "imagePullSecrets": ["registry"],
        "priorityClassName": "high",
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "system", "operator": "Exists"}],
        "serviceAccount": {"annotations": {"owner": "platform"}},
    },
}


def _helm(*arguments: str, values: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    assert HELM is not None
    return subprocess.run(
        [HELM, *arguments, "--values", "-"],
        input=json.dumps(values or {}),
        text=True,
        capture_output=True,
        check=False,
        timeout=60,
    )


def _rendered(values: dict[str, Any]) -> list[dict[str, Any]]:
    answer = _helm("template", "graft", str(CHART_DIR), "--namespace", "graft-system", values=values)
    assert answer.returncode == 0, answer.stderr
    return [document for document in yaml.safe_load_all(answer.stdout) if document]


def _one(kind: str, name: str, rendered: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [each for each in rendered if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def _environment(deployment: dict[str, Any]) -> dict[str, Any]:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


@pytest.mark.parametrize("name", VALUES)
def test_chart_lints(name: str) -> None:
    """`helm lint --strict` finds nothing."""
    answer = _helm("lint", "--strict", str(CHART_DIR), values=VALUES[name])
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize("name", VALUES)
def test_manifests_obey_the_kubernetes_schemas(name: str) -> None:
    """Every object of Kubernetes' own kinds is valid, unknown fields included."""
    checked = 0
    for manifest in _rendered(VALUES[name]):
        if "monitoring.coreos.com" in manifest["apiVersion"] or manifest["kind"] == "CustomResourceDefinition":
            continue
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
        checked += 1
    assert checked >= 8


def test_crds_are_those_of_the_models() -> None:
    """What the chart installs is what the models say, and Helm is told to keep it."""
    crds = {each["spec"]["names"]["kind"]: each for each in _rendered({}) if each["kind"] == "CustomResourceDefinition"}
    assert set(crds) == set(KINDS)
    for kind, crd in crds.items():
        assert crd["spec"] == crd_of(kind)["spec"]
        assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_namespaced_mode_has_no_cluster_rights() -> None:
    """With `namespaces` nobody is given a ClusterRole, and there is a Role in each of them."""
    rendered = _rendered(VALUES["namespaced"])
    assert not [each for each in rendered if each["kind"] == "ClusterRoleBinding"]
    places = {each["metadata"]["namespace"] for each in rendered if each["kind"] == "Role"}
    assert places == {"team-a", "team-b", "graft-system"}


@pytest.mark.parametrize("name", VALUES)
def test_no_rights_beyond_the_work(name: str) -> None:
    """No wildcard, no Secrets, no impersonation in any role; pods are listed by the test only, to say what is wrong."""
    rules = [rule for each in _rendered(VALUES[name]) for rule in each.get("rules", []) if "Role" in each["kind"]]
    assert len(rules) > 8
    for rule in rules:
        assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
        assert not {"secrets", "nodes", "clusterroles"} & set(rule["resources"])
        assert "pods" not in rule["resources"] or rule["verbs"] == ["list"]
        assert not {"impersonate", "escalate", "bind"} & set(rule["verbs"])


@pytest.mark.parametrize("name", ["graft-operator", "graft-mlflow", "graft-helm-test"])
def test_pods_pass_the_restricted_standard(name: str) -> None:
    """Non-root, nothing writable but its own folders.

    Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    (found,) = [
        each
        for each in _rendered(VALUES["registry"])
        if (each["kind"], each["metadata"]["name"]) in {("Deployment", name), ("Pod", name)}
    ]
    pod = found["spec"]["template"]["spec"] if found["kind"] == "Deployment" else found["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


@pytest.mark.parametrize(("values", "namespace"), [({}, "graft-system"), (VALUES["namespaced"], "team-a")])
def test_helm_test_stands_where_the_operator_looks(values: dict[str, Any], namespace: str) -> None:
    """The pod calls `graft smoke-test` for a namespace of the operator's, in which it has its rights."""
    rendered = _rendered(values)
    hooks = [each for each in rendered if each["metadata"].get("annotations", {}).get("helm.sh/hook") == "test"]
    assert {(each["kind"], each["metadata"]["namespace"]) for each in hooks} == {
        (kind, namespace) for kind in ("Pod", "Role", "RoleBinding", "ServiceAccount")
    }
    (pod,) = [each for each in hooks if each["kind"] == "Pod"]
    (container,) = pod["spec"]["containers"]
    assert container["command"] == ["graft", "smoke-test", "--namespace", namespace, "--timeout", "30m"]
    with cli.make_context("graft", container["command"][1:]) as context:
        assert cli.resolve_command(context, container["command"][1:])[0] in COMMANDS


def test_helm_test_may_touch_its_own_objects_only() -> None:
    """What it reads and deletes is what it made."""
    role = _one("Role", "graft-helm-test", _rendered({}))
    touching = [rule for rule in role["rules"] if {"get", "delete"} & set(rule["verbs"])]
    assert [rule["resourceNames"] for rule in touching] == [[smoke_test.NAME]]


def test_own_mlflow_server_is_the_one_that_is_used() -> None:
    """The operator's address of the server is one that the server answers to, on its Service's port."""
    rendered = _rendered(VALUES["registry"])
    uri = _environment(_one("Deployment", "graft-operator", rendered))["MLFLOW_TRACKING_URI"]
    service = _one("Service", "graft-mlflow", rendered)
    assert uri == f"http://graft-mlflow.graft-system:{service['spec']['ports'][0]['port']}"
    served = _environment(_one("Deployment", "graft-mlflow", rendered))
    assert uri.removeprefix("http://") in served["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")


def test_mlflow_server_with_a_database_and_a_bucket_has_no_volume() -> None:
    """The database's address comes from the Secret, and nothing is kept on a volume that nobody needs."""
    rendered = _rendered(VALUES["everything"])
    served = _environment(_one("Deployment", "graft-mlflow", rendered))
    assert served["MLFLOW_BACKEND_STORE_URI"] == {"secretKeyRef": {"name": "database", "key": "uri"}}
    assert served["MLFLOW_ARTIFACTS_DESTINATION"] == "s3://bucket/models"
    assert not [each for each in rendered if each["kind"] == "PersistentVolumeClaim"]


def test_registry_outlives_the_release() -> None:
    """Helm is told to keep the volume with the models."""
    claim = _one("PersistentVolumeClaim", "graft-mlflow", _rendered(VALUES["registry"]))
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_mlflow_server_is_of_the_version_of_its_clients() -> None:
    """The image's own lock and the project's name one version."""
    root = CHART_DIR.parents[1]
    server = tomllib.loads((root / "images" / "registry" / "uv.lock").read_text())["package"]
    clients = tomllib.loads((root / "uv.lock").read_text())["package"]
    (served,) = [each["version"] for each in server if each["name"] == "mlflow"]
    (used,) = [each["version"] for each in clients if each["name"] == "mlflow-skinny"]
    assert served == used


WRONG: dict[str, dict[str, Any]] = {
    "replica": {"replica": 2},
    "replicas": {"replicas": 0},
    "mlflow/trackingUri": {"mlflow": {"trackingUri": "mlflow:5000"}},
    "mlflow/server/volume/size": {"mlflow": {"server": {"volume": {"size": "20 gigabytes"}}}},
    "mlflow/server/volume": {"mlflow": {"server": {"volume": {"claim": "models"}}}},
    "images/operator": {"images": {"operator": {"name": "graftwork-operator"}}},
    "images/train/tag": {"images": {"train": {"tag": 1.2}}},
    "namespaces/0": {"namespaces": ["Team A"]},
    "resources/limits/memory": {"resources": {"limits": {"memory": "512 MB"}}},
    "tolerations/0/effect": {"tolerations": [{"effect": "Never"}]},
    "podSecrets": {"podSecrets": ["storage", "storage"]},
    "metrics/alerts": {"metrics": {"alerts": "yes"}},
}


@pytest.mark.parametrize("command", ["template", "lint"])
@pytest.mark.parametrize("where", WRONG)
def test_wrong_values_are_refused(command: str, where: str) -> None:
    """A misspelt or impossible value stops `helm install` and `helm lint`, which name the place."""
    name = ["graft"] if command == "template" else []
    answer = _helm(command, *name, str(CHART_DIR), values=WRONG[where])
    said = answer.stdout + answer.stderr
    assert answer.returncode != 0
    assert "values don't meet the specifications of the schema" in said
    assert where in said


def _unknown_series(expression: str) -> list[str]:
    """Series of ours in an expression that nothing publishes."""
    source = (Path(__file__).parents[3] / "platform" / "graftwork" / "metrics.py").read_text()
    series = set(re.findall(r"graftwork_\w+", expression))
    assert series or "process_" in expression
    return [name for name in series if f'"{re.sub(r"_(total|bucket|sum|count)$", "", name)}"' not in source]


def test_alerts_speak_of_series_there_are() -> None:
    """Each alert's expression names a series that the operator publishes."""
    groups = yaml.safe_load((CHART_DIR / "files" / "alerts.yaml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) >= 3
    assert [rule["alert"] for rule in rules if _unknown_series(rule["expr"])] == []


def test_dashboards_speak_of_series_there_are() -> None:
    """Every panel of every dashboard that the chart brings asks for series that are published."""
    maps = [
        each for each in _rendered(VALUES["everything"]) if "grafana_dashboard" in each["metadata"].get("labels", {})
    ]
    panels = [panel for each in maps for text in each["data"].values() for panel in json.loads(text)["panels"]]
    assert len(maps) == 2
    assert len(panels) >= 12
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    assert [each for each in expressions if _unknown_series(each)] == []
