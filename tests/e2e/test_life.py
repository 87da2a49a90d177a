"""A whole life on a cluster that runs pods: chart, training, serving, a new model, load, upgrade, uninstall.

One test, because each step needs what the one before left: run it with `-s` to see how long each takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import life
from tests.e2e.conftest import Kubectl
from tests.e2e.life import RELEASE, Team, Times, answered
from tests.e2e.test_chart import Helm

pytestmark = [pytest.mark.node, pytest.mark.timeout(7200)]
WORKERS = "graftwork.dev/job=first,ray.io/node-type=worker"
VALUES = ("--set", "mlflow.server.enabled=true,replicas=1")


@pytest.fixture
def team(kubectl_bare: Kubectl) -> Iterator[Team]:
    """A namespace under the "restricted" standard, with data on a volume."""
    nodes = kubectl_bare.get("nodes")["items"]
    if not nodes:
        pytest.skip("needs a node that runs pods: sh tests/e2e/run-node.sh")
    for name in ("e2e-life", RELEASE):
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        kubectl_bare.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    team = Team(kubectl_bare, "e2e-life")
    yield team
    kubectl_bare("delete", "finetunejobs,inferenceendpoints", "--all", "-n", team.namespace)
    for name in ("e2e-life", RELEASE):
        kubectl_bare("delete", "namespace", name, "--timeout=110s")


def test_life(team: Team, tmp_path: Path) -> None:
    """Passes its own test, trains through the loss of a worker, registers, serves, follows the alias, scales, goes."""
    times = Times()
    helm = Helm(team.kubectl.kubeconfig, RELEASE)
    with times.step("helm install, with an MLflow server, until all is ready"):
        helm("upgrade", "--install", "graft", str(life.CHART), *VALUES, "--wait", "--timeout", "5m")
    with times.step("helm test"):
        print(helm("test", "graft", "--timeout", "40m", "--logs"), flush=True)  # noqa: T201 (as `Times.step`)
    with times.step("data copied to a volume"):
        _bring_data(team)
    team.make_key(tmp_path)
    _train_through_a_loss(team, times)
    _serve(team, times)
    _follow(team, times)
    _scale(team, times)
    _roll_back(team, times)
    _sleep_and_wake(team, times)
    with times.step("helm upgrade; the endpoint goes on answering"):
        asking = team.asking(seconds=20)
        helm("upgrade", "graft", str(life.CHART), *VALUES, "--set", "resources.limits.memory=600Mi", "--wait")
        assert set(answered(asking, within_s=60)["outcomes"]) == {"200"}
    with times.step("helm uninstall leaves CRDs, jobs, endpoints and the registry's volume"):
        helm("uninstall", "graft", "--wait")
        assert set(answered(team.asking(seconds=5), within_s=60)["outcomes"]) == {"200"}
        assert len(team.get("finetunejobs")["items"]) == 2
        assert [each["metadata"]["name"] for each in team.kubectl.get("pvc", "-n", RELEASE)["items"]] == [
            "graft-mlflow"
        ]
        assert team.kubectl.get("deployments", "-n", RELEASE)["items"] == []


def _bring_data(team: Team) -> None:
    team.apply(life.claim())
    team.apply(life.client_pod())
    ready = team.kubectl("wait", "pod/client", "-n", team.namespace, "--for=condition=Ready", "--timeout=110s")
    assert ready.returncode == 0, ready.stderr
    examples = life.ROOT / "examples"
    picture = min((examples / "emoji10" / "google-test").glob("*/*.png"))
    team.copy_to_volume(
        {name: examples / name for name in ("emoji10", "efficientnet_lite0")} | {Path(life.PICTURE).name: picture}
    )


def _train_through_a_loss(team: Team, times: Times) -> None:
    team.apply(life.job("first", epochs=6, learning_rate=1e-4))
    with times.step("job applied -> driver and two workers train"):
        team.until(lambda: bool(team.status("finetunejob", "first").get("progress")), "training", 1200)
    with times.step("first phase"):
        team.until(lambda: team.status("finetunejob", "first").get("progress", "").startswith("tune"), "tuning", 1200)
    workers = team.pods(WORKERS)
    assert len(workers) == 2
    with times.step("worker pod deleted -> another one beside the one that is left"):
        team.kubectl("delete", "pod", workers[0], "-n", team.namespace, "--wait=false", "--grace-period=0", "--force")
        team.until(
            lambda: len(set(team.pods(WORKERS)) - {workers[0]}) == 2,
            "another worker",
            300,
        )
    with times.step("training, test, gate, registration"):
        status = team.wait_for_phase("finetunejob", "first", "Succeeded", within_s=1200)
    assert status["model"] == "emoji/1"
    assert len(team.get("rayjobs")["items"]) == 1


def _serve(team: Team, times: Times) -> None:
    team.apply(life.endpoint(max_replicas=2))
    with times.step("endpoint applied -> Ready"):
        team.wait_for_phase("inferenceendpoint", "emoji", "Ready", within_s=1200)
    with times.step("10 s of requests through its Service"):
        result = answered(team.asking(seconds=10), within_s=60)
    assert set(result["outcomes"]) == {"200"}
    assert set(result["versions"]) == {"1"}
    stranger = Team(team.kubectl, team.namespace, key="wrong")
    assert set(answered(stranger.asking(seconds=1), within_s=60)["outcomes"]) == {"401"}


def _follow(team: Team, times: Times) -> None:
    """Another job moves the alias while the endpoint is asked all the time."""
    asking = team.asking(seconds=1800, pause_s=0.5, until_version="2")
    team.apply(life.job("second", epochs=2, learning_rate=2e-4))
    with times.step("second job applied -> registered as champion"):
        assert team.wait_for_phase("finetunejob", "second", "Succeeded", within_s=1800)["model"] == "emoji/2"
    with times.step("alias moved -> answered by the new version"):
        result = answered(asking, within_s=180)
    assert set(result["outcomes"]) == {"200"}, "a request failed while the model changed"
    assert set(result["versions"]) == {"1", "2"}
    assert len(team.get("rayclusters", "-l", "ray.io/originated-from-crd=RayService")["items"]) == 1


def _scale(team: Team, times: Times) -> None:
    with times.step("load -> a second replica in a pod of its own"):
        asking = team.asking(seconds=150, connections=16, pause_s=0)
        labels = "graftwork.dev/endpoint=emoji,ray.io/node-type=worker"
        team.until(lambda: len(team.pods(labels)) == 2, "a second pod", 150)
        team.until(lambda: team.status("inferenceendpoint", "emoji").get("replicas") == 2, "two replicas", 120)
    assert set(answered(asking, within_s=240)["outcomes"]) == {"200"}


def _roll_back(team: Team, times: Times) -> None:
    """The alias moves to a version that crosses a bound which none keeps: the one before answers, and it is told."""

    def rolling_back() -> dict[str, Any]:
        conditions = team.status("inferenceendpoint", "emoji")["conditions"]
        return next((each for each in conditions if each["type"] == "RollingBack"), {})

    bounds = {"maxLatencyMs": 1, "minRequests": 20}
    team.apply(life.endpoint(max_replicas=2, rollout={"followAliases": "5s", "rollback": bounds}))
    team.until(lambda: rolling_back().get("status") == "False", "replicas that say what they gave up", 120)
    asking = team.asking(seconds=300, until_version="1")
    with times.step("alias moved -> answered by that version"):
        team.point_alias("1")
        assert set(answered(asking, within_s=300)["outcomes"]) == {"200"}
    asking = team.asking(seconds=30)
    with times.step("version gives way to the one before -> condition"):
        team.until(lambda: rolling_back().get("status") == "True", "a version given up", 60)
    assert set(answered(asking, within_s=120)["outcomes"]) == {"200"}
    status = team.status("inferenceendpoint", "emoji")
    assert (status["phase"], status["model"]) == ("Degraded", "emoji/2")
    assert "version 1 was given up for version 2" in status["message"]
    assert set(answered(team.asking(seconds=2), within_s=60)["versions"]) == {"2"}


def _sleep_and_wake(team: Team, times: Times) -> None:
    """With no replica left the head takes the request that wakes one."""
    labels = "graftwork.dev/endpoint=emoji,ray.io/node-type=worker"
    team.apply(life.endpoint(min_replicas=0, max_replicas=2))
    with times.step("nobody asks -> no replica, and no pod for one"):
        team.until(lambda: team.pods(labels) == [], "no worker", 300)
    with times.step("a request wakes a replica in a pod of its own"):
        assert set(answered(team.asking(seconds=1), within_s=180)["outcomes"]) == {"200"}
    assert len(team.pods(labels)) == 1
