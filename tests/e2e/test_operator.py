"""The operator against a real API server: KubeRay's part is played by the test, which writes the statuses it would."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from graftwork.cli.main import cli
from tests.e2e.conftest import Kubectl
from tests.e2e.operators import eventually, running_operator
from tests.unit.spec.examples import JOB, changed

SMALL_ENDPOINT: dict[str, Any] = {
    "apiVersion": "graftwork.dev/v1alpha1",
    "kind": "InferenceEndpoint",
    "metadata": {"name": "shop"},
    "spec": {"models": [{"model": "flowers/1"}], "auth": "none"},
}
_CONTAINERS = [{"name": "ray", "image": "serve:1"}]
_HEAD_GROUP = {"rayStartParams": {}, "template": {"spec": {"containers": _CONTAINERS}}}
SMALL_JOB: dict[str, Any] = changed(JOB, ("spec", "evaluation"), {})


class Stage:
    """One namespace, and what the test plays in it."""

    def __init__(self, kubectl: Kubectl, namespace: str, log: Path) -> None:
        self.kubectl, self.namespace, self.log = kubectl, namespace, log
        self._names = itertools.count()

    def operator(self) -> Any:
        """An operator that looks at this namespace."""
        name = f"operator-{next(self._names)}"
        return running_operator(self.kubectl.kubeconfig, name=name, namespaces=self.namespace, log=self.log)

    def apply(self, content: dict[str, Any] = SMALL_JOB) -> None:
        self.kubectl.apply(content, "-n", self.namespace)

    def items(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.kubectl.get(kind, "-n", self.namespace)["items"]
        return found

    def status(self) -> dict[str, Any]:
        jobs = self.items("finetunejobs")
        status: dict[str, Any] = jobs[0].get("status", {}) if jobs else {}
        return status

    def wait_for_phase(self, phase: str) -> None:
        eventually(lambda: self.status().get("phase") == phase, f"phase {phase}, log in {self.log}")

    def wait_for_ray_job(self) -> str:
        eventually(lambda: bool(self.items("rayjobs")), f"a RayJob, log in {self.log}")
        name: str = self.items("rayjobs")[0]["metadata"]["name"]
        return name

    def kuberay_says(self, **status: Any) -> None:
        name = self.wait_for_ray_job()
        answer = self.kubectl(
            "patch", "rayjob", name, "-n", self.namespace, "--subresource=status", "--type=merge",
            "-p", json.dumps({"status": status}),
        )  # fmt: skip
        assert answer.returncode == 0, answer.stderr

    def driver_says(self, **report: Any) -> None:
        name = f"{self.wait_for_ray_job()}-progress"
        eventually(
            lambda: self.kubectl("get", "configmap", name, "-n", self.namespace).returncode == 0, "the report's place"
        )
        data = {"data": {"progress.json": json.dumps(report)}}
        answer = self.kubectl("patch", "configmap", name, "-n", self.namespace, "--type=merge", "-p", json.dumps(data))
        assert answer.returncode == 0, answer.stderr

    def run_pod(self, name: str, owner: dict[str, Any]) -> None:
        """A pod of an endpoint that runs, as far as the API server knows."""
        metadata = {
            "name": name,
            "labels": {"graftwork.dev/endpoint": "shop"},
            "ownerReferences": [{key: value for key, value in owner.items() if value is not None}],
        }
        spec = {"nodeName": "somewhere", "containers": _CONTAINERS}
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
        answer = self.kubectl(
            "patch", "pod", name, "-n", self.namespace, "--subresource=status", "--type=merge", "-p", json.dumps(ready)
        )
        assert answer.returncode == 0, answer.stderr

    def succeed(self) -> None:
        self.driver_says(outcome="succeeded", metrics={"accuracy": 0.95}, model="flowers", version=3)
        self.kuberay_says(jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")


@pytest.fixture
def stage(kubectl: Kubectl, namespace: str, ray_crds: None, tmp_path: Path) -> Stage:
    return Stage(kubectl, namespace, tmp_path / "operator.log")


def test_a_job_is_followed_to_its_end(stage: Stage) -> None:
    """Applied with kubectl: a RayJob appears, the status follows, and deleting the job leaves nothing."""
    with stage.operator() as operator:
        stage.apply()
        stage.kuberay_says(jobDeploymentStatus="Running", jobStatus="RUNNING")
        stage.wait_for_phase("Running")
        stage.succeed()
        stage.wait_for_phase("Succeeded")
        printed = stage.kubectl("get", "ftj", "-n", stage.namespace).stdout
        assert "flowers/3" in printed
        assert "0.9500" in printed
        reasons = {event["reason"] for event in stage.items("events")}
        assert {"Running", "Succeeded"} <= reasons
        assert stage.kubectl("delete", "ftj", "flowers", "-n", stage.namespace).returncode == 0
        eventually(lambda: not stage.items("rayjobs"), "garbage collection of the RayJob")
        eventually(lambda: not stage.items("roles"), "garbage collection of the Role")
        assert operator.stop() == 0


def test_a_node_with_an_endpoint_can_be_drained(stage: Stage) -> None:
    """One of its pods may be evicted at a time, though RayClusters, whose they are, tell nobody their size."""

    def budget() -> dict[str, Any]:
        found = [each for each in stage.items("poddisruptionbudgets") if each["metadata"]["name"] == "shop"]
        return found[0].get("status", {}) if found else {}

    def evict(pod: str) -> str:
        place = f"/api/v1/namespaces/{stage.namespace}/pods/{pod}/eviction"
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": stage.namespace}}
        file = stage.log.with_name("eviction.json")
        file.write_text(json.dumps(body))
        answer = stage.kubectl("create", "--raw", place, "-f", str(file))
        return answer.stdout + answer.stderr

    with stage.operator():
        stage.apply(SMALL_ENDPOINT)
        eventually(lambda: bool(budget()), f"a budget, log in {stage.log}")
        cluster = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "shop-x"}}
        stage.kubectl.apply({**cluster, "spec": {"headGroupSpec": _HEAD_GROUP}}, "-n", stage.namespace)
        (made,) = stage.items("rayclusters")
        owner = {"uid": made["metadata"]["uid"], "controller": True, "blockOwnerDeletion": False}
        for name in ("shop-head", "shop-worker"):
            stage.run_pod(name, {**cluster, **owner, "metadata": None, "name": "shop-x"})
        eventually(lambda: budget().get("disruptionsAllowed") == 1, "the budget counts the pods")
        assert "Success" in evict("shop-worker")
        assert "disruption budget" in evict("shop-head")


def test_a_spec_only_the_operator_can_judge_is_a_condition(stage: Stage) -> None:
    """No crash, no RayJob: a condition with field and fix; the corrected object goes on."""
    with stage.operator() as operator:
        stage.apply(changed(SMALL_JOB, ("spec", "search"), {"space": {"head.nothing": {"uniform": [0.1, 0.5]}}}))
        stage.wait_for_phase("Failed")
        (validated,) = [each for each in stage.status()["conditions"] if each["type"] == "Validated"]
        assert "head.nothing" in validated["message"]
        assert stage.items("rayjobs") == []
        stage.apply()
        stage.wait_for_ray_job()
        assert operator.is_running


def test_what_somebody_else_made_is_left_alone(stage: Stage) -> None:
    """A NetworkPolicy of the endpoint's name stays as it is, also when the endpoint goes; the status says so."""
    theirs = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "shop"},
        "spec": {"podSelector": {"matchLabels": {"app": "shop"}}, "policyTypes": ["Egress"]},
    }

    def ready() -> dict[str, Any]:
        conditions = stage.items("inferenceendpoints")[0].get("status", {}).get("conditions", [])
        return next((each for each in conditions if each["type"] == "Ready"), {})

    stage.kubectl.apply(theirs, "-n", stage.namespace)
    with stage.operator() as operator:
        stage.apply(SMALL_ENDPOINT)
        eventually(lambda: ready().get("reason") == "NameTaken", f"a condition, log in {stage.log}")
        assert "NetworkPolicy shop" in ready()["message"]
        assert stage.kubectl("delete", "inferenceendpoint", "shop", "-n", stage.namespace).returncode == 0
        eventually(
            lambda: "shop" not in {each["metadata"]["name"] for each in stage.items("serviceaccounts")},
            "garbage collection of what was its own",
        )
        (left,) = stage.items("networkpolicies")
        assert left["spec"]["podSelector"] == {"matchLabels": {"app": "shop"}}
        assert "ownerReferences" not in left["metadata"]
        assert operator.is_running


def test_what_the_api_server_refuses_is_told(stage: Stage) -> None:
    """A quota on ConfigMaps: a condition, and the job goes on once there is room."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": {"count/configmaps": "0"}},
    }

    def scheduled() -> dict[str, Any]:
        return next((each for each in stage.status().get("conditions", []) if each["type"] == "Scheduled"), {})

    stage.kubectl.apply(quota, "-n", stage.namespace)
    with stage.operator():
        stage.apply()
        eventually(lambda: scheduled().get("reason") == "Refused", f"a condition, log in {stage.log}")
        assert "exceeded quota" in scheduled()["message"]
        assert stage.items("rayjobs") == []
        assert stage.kubectl("delete", "resourcequota", "few", "-n", stage.namespace).returncode == 0
        stage.wait_for_ray_job()


def test_a_corrected_image_reaches_pods_that_wait(stage: Stage) -> None:
    """KubeRay keeps the pods it made: the RayJob is made anew."""

    def images() -> set[str]:
        heads = [each["spec"]["rayClusterSpec"]["headGroupSpec"] for each in stage.items("rayjobs")]
        return {container["image"] for head in heads for container in head["template"]["spec"]["containers"]}

    with stage.operator():
        stage.apply(changed(SMALL_JOB, ("spec", "kubernetes"), {"image": "train:typo"}))
        stage.kuberay_says(jobDeploymentStatus="Initializing")
        (first,) = stage.items("rayjobs")
        stage.apply(changed(SMALL_JOB, ("spec", "kubernetes"), {"image": "train:1"}))
        eventually(lambda: images() == {"train:1"}, f"another RayJob, log in {stage.log}")
        (second,) = stage.items("rayjobs")
        assert first["metadata"]["uid"] != second["metadata"]["uid"]


def test_a_schedule_starts_runs(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every minute a job of its own, which is told with the time of the next one; stopped, it starts no more."""
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", stage.kubectl.kubeconfig)

    def graft(*arguments: str) -> str:
        answer = CliRunner().invoke(cli, [*arguments, "-n", stage.namespace])
        assert answer.exit_code == 0, answer.output
        return answer.output

    def parent() -> dict[str, Any]:
        (found,) = [each for each in stage.items("finetunejobs") if each["metadata"]["name"] == "flowers"]
        status: dict[str, Any] = found.get("status", {})
        return status

    with stage.operator() as operator:
        stage.apply(changed(SMALL_JOB, ("spec", "schedule"), {"cron": "* * * * *"}))
        eventually(lambda: parent().get("phase") == "Waiting", f"the schedule is seen, log in {stage.log}")
        assert stage.items("rayjobs") == []
        eventually(lambda: parent().get("phase") == "Running", f"a run, log in {stage.log}", within_s=90)
        assert graft("stop", "flowers").startswith("flowers starts no more runs")
        eventually(lambda: "nextRunTime" not in parent(), f"no more runs, log in {stage.log}")
        run = parent()["lastRun"]
        assert stage.wait_for_ray_job().startswith(f"{run}-")
        assert f"lastRun: {run}" in graft("status", "flowers")
        graft("stop", "--resume", "flowers")
        eventually(lambda: "nextRunTime" in parent(), f"the next time, log in {stage.log}")
        assert f"last run {run}, next {parent()['nextRunTime']}" in graft("status")
        assert stage.kubectl("delete", "ftj", "flowers", "-n", stage.namespace).returncode == 0
        eventually(lambda: not stage.items("finetunejobs"), "garbage collection of the run")
        assert operator.is_running


def test_jobs_that_share_an_alias_are_told(stage: Stage) -> None:
    """The API server selects them by the model that they register, and those under way by their phase."""

    def shared(name: str) -> dict[str, Any]:
        (found,) = [each for each in stage.items("finetunejobs") if each["metadata"]["name"] == name]
        conditions = found.get("status", {}).get("conditions", [])
        return next((each for each in conditions if each["type"] == "SharesAlias"), {})

    with stage.operator():
        stage.apply()
        stage.wait_for_ray_job()
        stage.apply(changed(SMALL_JOB, ("metadata", "name"), "tulips"))
        eventually(lambda: shared("tulips").get("status") == "True", f"a condition, log in {stage.log}")
        assert "FineTuneJob flowers will move flowers@champion" in shared("tulips")["message"]
        assert "SharesAlias" in {event["reason"] for event in stage.items("events")}
        assert stage.kubectl("delete", "ftj", "flowers", "-n", stage.namespace).returncode == 0
        note = {"metadata": {"annotations": {"looked-at": "again"}}}
        stage.kubectl("patch", "ftj", "tulips", "-n", stage.namespace, "--type=merge", "-p", json.dumps(note))
        eventually(lambda: shared("tulips").get("status") == "False", f"the condition is over, log in {stage.log}")


def test_only_one_of_two_operators_acts(stage: Stage) -> None:
    """The follower takes over when the leader is stopped."""
    with stage.operator() as first:
        eventually(lambda: first.metric("graftwork_operator_leads") == 1, "the first leads")
        with stage.operator() as second:
            stage.apply()
            stage.wait_for_ray_job()
            assert second.metric("graftwork_operator_leads") == 0
            assert first.stop() == 0
            eventually(lambda: second.metric("graftwork_operator_leads") == 1, "the second leads")
            stage.kuberay_says(jobDeploymentStatus="Running", jobStatus="RUNNING")
            stage.wait_for_phase("Running")
