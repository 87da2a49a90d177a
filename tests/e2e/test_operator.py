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
