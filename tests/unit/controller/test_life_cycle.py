"""The life of jobs and endpoints on a cluster in memory, with the operator killed wherever it can be."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwork.controller import names
from graftwork.controller.cluster import ConflictError
from graftwork.controller.job_objects import PROGRESS_KEY
from graftwork.controller.pods import PodDefaults
from graftwork.controller.reconcile import Key, Reconciler
from graftwork.controller.rollback_report import GivenUpVersion, RollbackReport
from graftwork.errors import PermanentError, TransientError
from graftwork.spec.inference_endpoint import Limits
from graftwork.spec.job_training import Training
from tests.support.fake_cluster import FakeCluster, KilledError
from tests.unit.spec.examples import ENDPOINT, JOB, changed

START = datetime(2026, 1, 1, tzinfo=UTC)
DEFAULTS = PodDefaults(train_image="train:1", serve_image="serve:1", tracking_uri="http://mlflow:5000")
JOB_KEY = Key(kind="FineTuneJob", namespace="team", name="flowers")
ENDPOINT_KEY = Key(kind="InferenceEndpoint", namespace="team", name="flowers")
PLAIN_ENDPOINT = changed(
    changed(ENDPOINT, ("spec", "models"), [{"model": "flowers@champion"}]), ("spec", "rollout"), {}
)

World = Callable[[], None]


class Setting:
    """A cluster, a clock, a registry, and the operator."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.now = START
        self.aliases = {"flowers@champion": "flowers/1"}
        self.registry_error: Exception | None = None
        self.given_up: list[GivenUpVersion] | None = []
        self.asked: list[str] = []

    def resolve(self, alias: str) -> str:
        if self.registry_error is not None:
            raise self.registry_error
        if alias not in self.aliases:
            raise PermanentError("The registry has no such model or alias.")
        return self.aliases[alias]

    def read_rollbacks(self, address: str) -> RollbackReport:
        """What the replicas say."""
        self.asked.append(address)
        if self.given_up is None:
            raise TransientError("No replica says what it gave up.", delay_s=1)
        return RollbackReport(given_up=self.given_up)

    def look(self, key: Key = JOB_KEY) -> float | None:
        """One look of a freshly started operator."""
        reconciler = Reconciler(
            cluster=self.cluster,
            defaults=DEFAULTS,
            clock=lambda: self.now,
            resolve=self.resolve,
            read_rollbacks=self.read_rollbacks,
        )
        return reconciler.look(key)

    def settle(self, key: Key = JOB_KEY) -> None:
        """Look until nothing is written any more; fails if that never comes."""
        for _ in range(10):
            before = self.cluster.writes
            self.look(key)
            if self.cluster.writes == before:
                return
        pytest.fail("the operator never rests")

    def submit(self, content: dict[str, Any] = JOB, **placement: Any) -> None:
        """`kubectl apply`."""
        manifest = copy.deepcopy(content)
        manifest["metadata"]["namespace"] = "team"
        if placement:
            manifest["spec"]["kubernetes"] = placement
        self.cluster.apply(manifest)

    def ray_job(self) -> dict[str, Any]:
        """The only RayJob, as KubeRay sees it."""
        (name,) = self.cluster.named("RayJob")
        return self.cluster.objects["RayJob", "team", name]

    def ray_status(self, **status: Any) -> None:
        """KubeRay reports."""
        self.ray_job()["status"] = {**self.ray_job().get("status", {}), **status}

    def driver_reports(self, **report: Any) -> None:
        """The driver in the pod reports."""
        (name,) = [each for each in self.cluster.named("ConfigMap") if each.endswith("-progress")]
        self.cluster.objects["ConfigMap", "team", name]["data"] = {PROGRESS_KEY: json.dumps(report)}

    def succeed(self) -> None:
        """The run ends well."""
        self.driver_reports(outcome="succeeded", metrics={"accuracy": 0.95}, model="flowers", version=3)
        self.ray_status(jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")

    def events(self) -> set[str]:
        """Reasons of all news."""
        return {found["reason"] for (kind, _, _), found in self.cluster.objects.items() if kind == "Event"}

    def status(self, kind: str = "FineTuneJob") -> dict[str, Any]:
        """What the operator reports."""
        status: dict[str, Any] = self.cluster.objects[kind, "team", "flowers"].get("status", {})
        return status

    def condition(self, type_: str, kind: str = "FineTuneJob") -> dict[str, Any]:
        """One condition."""
        (found,) = [each for each in self.status(kind)["conditions"] if each["type"] == type_]
        return dict(found)


@pytest.fixture
def setting() -> Setting:
    return Setting()


def test_a_job_goes_its_way(setting: Setting) -> None:
    """From the applied object over each of KubeRay's states to the registered model."""
    setting.submit()
    setting.settle()
    assert setting.condition("Running")["status"] == "False"
    setting.ray_status(jobDeploymentStatus="Initializing")
    setting.settle()
    assert setting.status()["phase"] == "Starting"
    setting.ray_status(jobDeploymentStatus="Running", jobStatus="RUNNING")
    setting.driver_reports(outcome="running", progress="head 3/10", message="Training head.", runId="r1")
    setting.settle()
    assert (setting.status()["phase"], setting.status()["progress"]) == ("Running", "head 3/10")
    assert setting.condition("Scheduled")["status"] == "True"
    setting.now += timedelta(minutes=5)
    setting.succeed()
    setting.settle()
    status = setting.status()
    assert (status["phase"], status["model"], status["accuracy"]) == ("Succeeded", "flowers/3", "0.9500")
    assert status["startTime"] == "2026-01-01T00:00:00Z"
    assert status["completionTime"] == "2026-01-01T00:05:00Z"
    assert {type_: setting.condition(type_)["status"] for type_ in ("Evaluated", "GatePassed", "Registered")} == {
        "Evaluated": "True",
        "GatePassed": "True",
        "Registered": "True",
    }


def test_what_a_job_makes_goes_with_it(setting: Setting) -> None:
    """Every object is owned by the job: deleting it leaves nothing but events."""
    setting.submit()
    setting.settle()
    assert len(setting.cluster.objects) > 6
    setting.cluster.delete("", "FineTuneJob", "team", "flowers")
    assert {kind for kind, _, _ in setting.cluster.objects} == {"Event"}


def test_a_finished_job_is_not_run_again(setting: Setting) -> None:
    """Its RayJob deleted, the operator restarted: the end stays the end."""
    setting.submit()
    setting.settle()
    setting.succeed()
    setting.settle()
    setting.cluster.delete("", "RayJob", "team", setting.ray_job()["metadata"]["name"])
    setting.settle()
    assert setting.cluster.named("RayJob") == ()
    assert setting.status()["phase"] == "Succeeded"


def test_an_end_that_nobody_saw_is_not_run_again(setting: Setting) -> None:
    """The RayJob ended and was deleted while the operator was away; the driver's report tells."""
    setting.submit()
    setting.settle()
    setting.succeed()
    setting.cluster.delete("", "RayJob", "team", setting.ray_job()["metadata"]["name"])
    setting.settle()
    assert setting.cluster.named("RayJob") == ()
    assert setting.status()["phase"] == "Succeeded"


def test_a_lost_ray_job_is_made_again(setting: Setting) -> None:
    """Somebody deletes the RayJob of a running job: it goes on."""
    setting.submit()
    setting.settle()
    name = setting.ray_job()["metadata"]["name"]
    setting.cluster.delete("", "RayJob", "team", name)
    setting.settle()
    assert setting.cluster.named("RayJob") == (name,)


def test_another_spec_is_another_run(setting: Setting) -> None:
    """The old run and what belongs to it goes, the new one starts from nothing."""
    setting.submit()
    setting.settle()
    old = setting.ray_job()["metadata"]["name"]
    setting.driver_reports(outcome="running", metrics={"accuracy": 0.5})
    setting.settle()
    setting.submit(changed(JOB, ("spec", "training", "seed"), 8))
    setting.settle()
    (new,) = setting.cluster.named("RayJob")
    assert new != old
    assert not any(name.startswith(old) for _, _, name in setting.cluster.objects)
    assert "accuracy" not in setting.status()


def test_no_empty_map_is_applied(setting: Setting) -> None:
    """A status whose metrics went leaves them out: of an empty map server-side apply would make a null, and fail."""
    setting.submit()
    setting.settle()
    setting.succeed()
    setting.settle()
    assert setting.status()["metrics"] == {"accuracy": 0.95}
    setting.submit(changed(JOB, ("spec", "training", "seed"), 8))
    setting.settle()
    assert "metrics" not in setting.status()


def test_defaults_of_a_newer_crd_are_no_other_run(setting: Setting) -> None:
    """The API server fills a new field's default into old objects: nothing is trained again for that."""
    setting.submit()
    setting.settle()
    setting.succeed()
    setting.settle()
    training = setting.cluster.objects["FineTuneJob", "team", "flowers"]["spec"]["training"]
    assert "backend" not in training
    training["backend"] = Training.model_fields["backend"].default
    setting.settle()
    assert setting.status()["phase"] == "Succeeded"
    assert len([kind for kind, _ in setting.cluster.history if kind == "RayJob"]) == 1


def test_defaults_reach_no_pod(setting: Setting) -> None:
    """Replicas of an older image are told nothing that they may not know."""
    setting.submit(PLAIN_ENDPOINT)
    setting.settle(ENDPOINT_KEY)
    before = copy.deepcopy(setting.cluster.objects["RayService", "team", "flowers"])
    endpoint = setting.cluster.objects["InferenceEndpoint", "team", "flowers"]
    endpoint["spec"]["limits"] = Limits().model_dump(mode="json", by_alias=True) | endpoint["spec"].get("limits", {})
    setting.settle(ENDPOINT_KEY)
    assert setting.cluster.objects["RayService", "team", "flowers"] == before


def test_placement_is_no_other_run(setting: Setting) -> None:
    """Suspending, or another queue, changes the RayJob in place."""
    setting.submit()
    setting.settle()
    name = setting.ray_job()["metadata"]["name"]
    setting.submit(suspend=True)
    setting.settle()
    assert setting.ray_job()["metadata"]["name"] == name
    assert setting.ray_job()["spec"]["suspend"] is True
    setting.ray_status(jobDeploymentStatus="Suspended")
    setting.settle()
    assert setting.status()["phase"] == "Suspended"
    setting.submit(suspend=False)
    setting.settle()
    assert setting.ray_job()["spec"]["suspend"] is False


def test_other_pods_are_other_pods_also_before_they_run(setting: Setting) -> None:
    """KubeRay keeps the pods it made: a corrected image would never be pulled. What runs goes on as it is."""
    setting.submit(image="train:typo")
    setting.settle()
    setting.ray_status(jobDeploymentStatus="Initializing")
    setting.settle()
    first = setting.ray_job()["metadata"]["uid"]
    setting.submit(image="train:1")
    setting.settle()
    second = setting.ray_job()["metadata"]["uid"]
    assert first != second
    assert "train:typo" not in json.dumps(setting.ray_job()["spec"])
    assert "PlacementChanged" in setting.events()
    setting.ray_status(jobDeploymentStatus="Running", jobStatus="RUNNING")
    setting.submit(image="train:2")
    setting.settle()
    assert setting.ray_job()["metadata"]["uid"] == second
    assert "train:2" in json.dumps(setting.ray_job()["spec"])


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_failed_job_is_tried_again_with_another_placement(setting: Setting, is_kept: bool) -> None:
    """More memory is what helps a job that lacked it; the same spec as before is no other try."""
    setting.submit(memory="1Gi")
    setting.settle()
    setting.driver_reports(outcome="running", reason="TrainingFailed", message="A worker was killed.")
    setting.ray_status(jobDeploymentStatus="Failed", reason="AppFailed")
    setting.settle()
    assert setting.status()["phase"] == "Failed"
    before = setting.ray_job()["metadata"]["uid"]
    setting.submit(memory="1Gi")
    setting.settle()
    assert setting.status()["phase"] == "Failed"
    if not is_kept:
        del setting.cluster.objects["RayJob", "team", setting.ray_job()["metadata"]["name"]]
    setting.submit(memory="4Gi")
    setting.settle()
    assert setting.ray_job()["metadata"]["uid"] != before
    assert setting.status()["phase"] == "Starting"
    setting.succeed()
    setting.settle()
    assert setting.status()["phase"] == "Succeeded"


def test_pods_that_cannot_be_made_are_told(setting: Setting) -> None:
    """As KubeRay's cluster says it: rather than starting for ever."""
    refused = {
        "conditions": [{"type": "ReplicaFailure", "status": "True", "message": "FailedCreateHeadPod\nno PriorityClass"}]
    }
    setting.submit()
    setting.settle()
    setting.ray_status(jobDeploymentStatus="Initializing", rayClusterStatus=refused)
    setting.settle()
    assert setting.status()["message"] == "Its pods cannot be made: FailedCreateHeadPod no PriorityClass"
    assert setting.condition("Scheduled")["reason"] == "PodsRefused"
    setting.submit(PLAIN_ENDPOINT)
    setting.settle(ENDPOINT_KEY)
    service = setting.cluster.objects["RayService", "team", "flowers"]
    service["status"] = {"pendingServiceStatus": {"rayClusterName": "a", "rayClusterStatus": refused}}
    setting.settle(ENDPOINT_KEY)
    assert setting.condition("Ready", "InferenceEndpoint")["reason"] == "PodsRefused"


def test_what_somebody_else_made_is_left_alone(setting: Setting) -> None:
    """Server-side apply would take it over and delete it with the endpoint: a condition says whose it is not."""
    for kind in ("NetworkPolicy", "Ingress"):
        manifest = {"kind": kind, "metadata": {"namespace": "team", "name": "flowers"}, "spec": {"theirs": True}}
        setting.cluster.apply(manifest)
    setting.submit(PLAIN_ENDPOINT)
    for _ in range(3):
        with pytest.raises(
            PermanentError, match="There is a NetworkPolicy flowers that this InferenceEndpoint did not"
        ):
            setting.look(ENDPOINT_KEY)
    assert setting.condition("Ready", "InferenceEndpoint")["reason"] == "NameTaken"
    assert "NameTaken" in setting.events()
    for kind in ("NetworkPolicy", "Ingress"):
        theirs = setting.cluster.objects[kind, "team", "flowers"]
        assert theirs["spec"] == {"theirs": True}
        assert "ownerReferences" not in theirs["metadata"]
    del setting.cluster.objects["NetworkPolicy", "team", "flowers"]
    setting.settle(ENDPOINT_KEY)
    assert setting.cluster.named("RayService") == ("flowers",)
    assert setting.cluster.objects["Ingress", "team", "flowers"]["spec"] == {"theirs": True}
    assert setting.condition("Ready", "InferenceEndpoint")["reason"] == "Starting"


def test_what_the_cluster_refuses_is_a_condition(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quota or a webhook: told in the status and by an event, and tried again."""
    apply = setting.cluster.apply

    def refuse(manifest: Any) -> Any:
        if manifest["kind"] == "ConfigMap":
            raise PermanentError("exceeded quota: count/configmaps.")
        return apply(manifest)

    setting.submit()
    with monkeypatch.context() as patch:
        patch.setattr(setting.cluster, "apply", refuse)
        for _ in range(2):
            with pytest.raises(PermanentError):
                setting.look()
    assert setting.condition("Scheduled") | {"lastTransitionTime": ""} == {
        "type": "Scheduled",
        "status": "False",
        "reason": "Refused",
        "message": "exceeded quota: count/configmaps.",
        "lastTransitionTime": "",
        "observedGeneration": 1,
    }
    assert setting.status()["observedGeneration"] == 1
    assert "Refused" in setting.events()
    setting.settle()
    assert setting.condition("Scheduled")["reason"] == "Starting"


def test_a_queued_job_waits_for_kueue(setting: Setting) -> None:
    """Kueue suspends and resumes: the operator leaves the field alone."""
    setting.submit(queue="gpu")
    setting.settle()
    assert "suspend" not in setting.ray_job()["spec"]
    assert setting.ray_job()["metadata"]["labels"][names.QUEUE_LABEL] == "gpu"
    setting.ray_status(jobDeploymentStatus="Suspended")
    setting.settle()
    assert setting.status()["phase"] == "Queued"
    assert setting.condition("Queued")["status"] == "True"


@pytest.mark.parametrize(
    ("ray", "report", "reason"),
    [
        ({"jobDeploymentStatus": "Failed", "reason": "DeadlineExceeded"}, {}, "DeadlineExceeded"),
        ({"jobDeploymentStatus": "Failed", "reason": "AppFailed", "message": "boom"}, {}, "AppFailed"),
        ({"jobDeploymentStatus": "ValidationFailed"}, {}, "RayJobFailed"),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}, {}, "RayJobFailed"),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}, {}, "ReportMissing"),
        (
            {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"},
            {
                "outcome": "failed",
                "reason": "GateRefused",
                "message": "accuracy 0.4 < 0.9",
                "metrics": {"accuracy": 0.4},
            },
            "GateRefused",
        ),
    ],
)
def test_failures_are_named(setting: Setting, ray: dict[str, str], report: dict[str, Any], reason: str) -> None:
    """Whatever ends a run badly is a reason of its own, and final."""
    setting.submit()
    setting.settle()
    if report:
        setting.driver_reports(**report)
    setting.ray_status(**ray)
    setting.settle()
    assert setting.status()["phase"] == "Failed"
    assert setting.condition("Succeeded")["reason"] == reason
    assert setting.condition("Succeeded")["message"]


def test_a_finished_job_is_deleted_in_time(setting: Setting) -> None:
    """`ttlAfterFinished` counts from the end, to the second."""
    setting.submit(ttlAfterFinished="1h")
    setting.settle()
    setting.succeed()
    setting.settle()
    setting.now += timedelta(minutes=59)
    assert setting.look() == pytest.approx(60)
    setting.now += timedelta(minutes=1)
    setting.look()
    assert setting.cluster.named("FineTuneJob") == ()


def test_a_spec_that_cannot_work_is_explained(setting: Setting) -> None:
    """What the API server let pass is a condition with field and fix, one event, and no RayJob."""
    setting.submit(changed(JOB, ("spec", "phases", 0, "unfreeze"), {"upTo": 3}))
    setting.settle()
    condition = setting.condition("Validated")
    assert (condition["status"], condition["reason"]) == ("False", "InvalidSpec")
    assert "unfreeze" in condition["message"]
    assert setting.cluster.named("RayJob") == ()
    assert len(setting.cluster.named("Event")) == 1
    setting.submit(JOB)
    setting.settle()
    assert setting.condition("Validated")["status"] == "True"
    assert len(setting.cluster.named("RayJob")) == 1


def test_missing_kuberay_is_a_condition(setting: Setting) -> None:
    """Without KubeRay a job waits and says so; once it is there, the job goes on."""
    setting.cluster.has_kuberay = False
    setting.submit()
    setting.settle()
    assert setting.condition("Scheduled")["reason"] == "KubeRayMissing"
    assert "KubeRay" in setting.status()["message"]
    setting.cluster.has_kuberay = True
    setting.settle()
    assert len(setting.cluster.named("RayJob")) == 1


def test_a_foreign_ray_job_is_left_alone(setting: Setting) -> None:
    """A RayJob of the same name that somebody else made is neither taken over nor deleted."""
    setting.submit()
    setting.settle()
    ray_job = setting.ray_job()
    setting.cluster.delete("", "FineTuneJob", "team", "flowers")
    foreign = {**ray_job, "metadata": {"name": ray_job["metadata"]["name"], "namespace": "team"}, "spec": {"x": 1}}
    setting.cluster.apply(foreign)
    setting.submit()
    setting.settle()
    assert setting.condition("Scheduled")["reason"] == "NameTaken"
    assert setting.ray_job()["spec"] == {"x": 1}


def test_an_object_that_is_going_is_left_to_go(setting: Setting) -> None:
    """Nothing is made for an object that is being deleted."""
    setting.submit()
    setting.cluster.objects["FineTuneJob", "team", "flowers"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    before = setting.cluster.writes
    setting.look()
    assert setting.cluster.writes == before


def test_transition_times_change_with_the_status_only(setting: Setting) -> None:
    """A condition that holds as before keeps its time."""
    setting.submit()
    setting.settle()
    first = setting.condition("Validated")
    setting.now += timedelta(hours=1)
    setting.ray_status(jobDeploymentStatus="Running")
    setting.settle()
    assert setting.condition("Validated")["lastTransitionTime"] == first["lastTransitionTime"]
    assert setting.condition("Running")["lastTransitionTime"] == "2026-01-01T01:00:00Z"


def _whole_life(setting: Setting, look: World) -> None:
    """A job's life with a change of spec in the middle; `look` stands for the operator at work."""
    setting.submit()
    look()
    setting.ray_status(jobDeploymentStatus="Running", jobStatus="RUNNING")
    look()
    setting.submit(changed(JOB, ("spec", "training", "seed"), 8), suspend=False)
    look()
    setting.ray_status(jobDeploymentStatus="Running", jobStatus="RUNNING")
    setting.driver_reports(outcome="running", progress="head 1/10")
    look()
    setting.succeed()
    look()


def _undisturbed() -> Setting:
    setting = Setting()
    _whole_life(setting, setting.settle)
    return setting


@settings(max_examples=30)
@given(kills=st.lists(st.tuples(st.integers(1, 60), st.booleans()), min_size=1, max_size=4))
def test_killed_anywhere_the_end_is_the_same(kills: list[tuple[int, bool]]) -> None:
    """Killed before or after any writes, the restarted operator ends with the same objects, each made once."""
    setting = Setting()
    pending = dict(kills)

    def die(*, after: bool) -> None:
        if pending.get(setting.cluster.writes + (0 if after else 1)) is after:
            del pending[setting.cluster.writes + (0 if after else 1)]
            raise KilledError

    def look() -> None:
        while True:
            setting.cluster.before_write = lambda: die(after=False)
            setting.cluster.after_write = lambda: die(after=True)
            try:
                setting.settle()
            except KilledError:
                continue
            finally:
                setting.cluster.before_write = setting.cluster.after_write = lambda: None
            return

    _whole_life(setting, look)
    reference = _undisturbed()
    # A state that passed while the operator was dead makes no news; the end always does.
    assert {each for each in setting.cluster.objects if each[0] != "Event"} == {
        each for each in reference.cluster.objects if each[0] != "Event"
    }
    assert "Succeeded" in setting.events()
    assert setting.status() == reference.status()
    made = [each for each in setting.cluster.history if each[0] in {"RayJob", "ConfigMap", "Event"}]
    assert len(made) == len(set(made))


def test_an_endpoint_becomes_ready(setting: Setting) -> None:
    """From the applied object to where it answers."""
    setting.submit(PLAIN_ENDPOINT)
    setting.settle(ENDPOINT_KEY)
    ray_service = setting.cluster.objects["RayService", "team", "flowers"]
    assert "flowers/1" in ray_service["spec"]["serveConfigV2"]
    ray_service["status"] = {
        "conditions": [{"type": "Ready", "status": "True"}],
        "numServeEndpoints": 2,
        "activeServiceStatus": {"rayClusterName": "a", "applicationStatuses": {"endpoint": {"status": "RUNNING"}}},
    }
    setting.settle(ENDPOINT_KEY)
    status = setting.status("InferenceEndpoint")
    assert (status["phase"], status["replicas"], status["model"]) == ("Ready", 2, "flowers/1")
    assert status["url"] == "http://flowers-serve-svc.team:8000"


@pytest.mark.parametrize("auth", [None, {"apiKeys": {"file": "keys.yaml"}}])
def test_an_endpoint_says_who_may_ask(setting: Setting, auth: dict[str, Any] | None) -> None:
    """Nothing is opened by default; what was meant for one machine is no answer either."""
    setting.submit(changed(PLAIN_ENDPOINT, ("spec", "auth"), auth))
    setting.settle(ENDPOINT_KEY)
    condition = setting.condition("Validated", kind="InferenceEndpoint")
    assert (condition["reason"], "secretName" in condition["message"]) == ("InvalidSpec", True)
    assert setting.cluster.named("RayService") == ()


def test_a_moved_alias_changes_the_configuration_only(setting: Setting) -> None:
    """The endpoint follows in place: the Ray cluster's description stays as it was, to the letter."""
    setting.submit(PLAIN_ENDPOINT)
    setting.settle(ENDPOINT_KEY)
    before = copy.deepcopy(setting.cluster.objects["RayService", "team", "flowers"]["spec"])
    setting.aliases["flowers@champion"] = "flowers/2"
    setting.settle(ENDPOINT_KEY)
    after = setting.cluster.objects["RayService", "team", "flowers"]["spec"]
    assert after["rayClusterConfig"] == before["rayClusterConfig"]
    assert "flowers/2" in after["serveConfigV2"]
    assert "ModelChanged" in setting.events()


@pytest.mark.parametrize("is_read_before", [False, True])
def test_an_endpoint_that_is_deleted_during_a_look_leaves_nothing(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, *, is_read_before: bool
) -> None:
    """Its RayService goes with it between being seen and being changed: it is not made anew."""
    setting.submit(PLAIN_ENDPOINT)
    setting.settle(ENDPOINT_KEY)
    setting.aliases["flowers@champion"] = "flowers/2"
    get, reads = setting.cluster.get, itertools.count(1)

    def get_and_delete(api_version: str, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        is_last = kind == "RayService" and next(reads) == 2
        found = get(api_version, kind, namespace, name) if is_read_before or not is_last else None
        if is_last:
            setting.cluster.delete("", "InferenceEndpoint", "team", "flowers")
        return found

    monkeypatch.setattr(setting.cluster, "get", get_and_delete)
    with pytest.raises(ConflictError) if is_read_before else nullcontext():
        setting.look(ENDPOINT_KEY)
    setting.look(ENDPOINT_KEY)
    assert next(reads) == 3
    assert setting.cluster.history.count(("RayService", "flowers")) == 1
    assert {kind for kind, _, _ in setting.cluster.objects} <= {"Event"}


def test_aliases_stay_where_they_were_if_the_spec_says_so(setting: Setting) -> None:
    """With `followAliases: none` a moved alias changes nothing."""
    spec = {**PLAIN_ENDPOINT["spec"], "rollout": {"followAliases": "none"}}
    setting.submit({**PLAIN_ENDPOINT, "spec": spec})
    setting.settle(ENDPOINT_KEY)
    setting.aliases["flowers@champion"] = "flowers/2"
    setting.settle(ENDPOINT_KEY)
    assert "flowers/2" not in setting.cluster.objects["RayService", "team", "flowers"]["spec"]["serveConfigV2"]
    assert "ModelChanged" not in setting.events()


def test_grpc_comes_and_goes_with_its_spec(setting: Setting) -> None:
    """The Service for gRPC is there while the spec asks for it, and its address is told."""
    setting.submit(PLAIN_ENDPOINT)  # with gRPC
    setting.settle(ENDPOINT_KEY)
    assert setting.cluster.named("Service") == ("flowers-grpc",)
    assert setting.status("InferenceEndpoint")["grpcAddress"] == "flowers-grpc.team:8001"
    del setting.cluster.objects["InferenceEndpoint", "team", "flowers"]["spec"]["grpc"]
    setting.settle(ENDPOINT_KEY)
    assert setting.cluster.named("Service") == ()
    assert "grpcAddress" not in setting.status("InferenceEndpoint")


def test_the_way_from_outside_follows_its_spec(setting: Setting) -> None:
    """From an Ingress to a Gateway to nothing: there is only ever the one that is asked for, and its URL is told."""
    for expose, there, url in (
        ({"host": "a.example.org", "ingress": {}}, ("Ingress",), "http://a.example.org"),
        ({"host": "a.example.org", "gateway": {"name": "public"}}, ("HTTPRoute",), "https://a.example.org"),
        (None, (), None),
    ):
        setting.submit(PLAIN_ENDPOINT, **({} if expose is None else {"expose": expose}))
        setting.settle(ENDPOINT_KEY)
        assert tuple(kind for kind in ("Ingress", "HTTPRoute") if setting.cluster.named(kind)) == there
        assert setting.status("InferenceEndpoint").get("externalUrl") == url


def test_missing_gateway_api_is_a_condition(setting: Setting) -> None:
    """A cluster without HTTPRoutes is said, with the way out, and nothing fails."""
    setting.cluster.has_gateway_api = False
    setting.submit(PLAIN_ENDPOINT, expose={"host": "a.example.org", "gateway": {"name": "public"}})
    setting.settle(ENDPOINT_KEY)
    condition = setting.condition("Ready", "InferenceEndpoint")
    assert condition["reason"] == "GatewayApiMissing"
    assert "expose.ingress" in condition["message"]


def test_a_silent_registry_changes_nothing(setting: Setting) -> None:
    """What is served goes on while MLflow is away, and the endpoint says that it may be old."""
    setting.submit(PLAIN_ENDPOINT)
    setting.settle(ENDPOINT_KEY)
    before = copy.deepcopy(setting.cluster.objects["RayService", "team", "flowers"])
    setting.registry_error = TransientError("The MLflow server does not answer.", delay_s=1)
    setting.settle(ENDPOINT_KEY)
    assert setting.cluster.objects["RayService", "team", "flowers"] == before
    assert setting.condition("ModelsCurrent", "InferenceEndpoint")["reason"] == "RegistryUnreachable"


def test_an_unknown_model_is_waited_for(setting: Setting) -> None:
    """Nothing is started for a model that is not there; the endpoint says which, and starts once it is."""
    setting.aliases.clear()
    setting.submit(PLAIN_ENDPOINT)
    setting.settle(ENDPOINT_KEY)
    assert setting.cluster.named("RayService") == ()
    condition = setting.condition("Ready", "InferenceEndpoint")
    assert condition["reason"] == "ModelNotFound"
    assert "flowers@champion" in condition["message"]
    setting.aliases["flowers@champion"] = "flowers/7"
    setting.settle(ENDPOINT_KEY)
    assert setting.cluster.named("RayService") == ("flowers",)


def test_a_replica_that_cannot_start_is_told(setting: Setting) -> None:
    """Serve's own words reach the status."""
    setting.submit(PLAIN_ENDPOINT)
    setting.settle(ENDPOINT_KEY)
    setting.cluster.objects["RayService", "team", "flowers"]["status"] = {
        "conditions": [{"type": "Ready", "status": "True"}],
        "activeServiceStatus": {
            "rayClusterName": "a",
            "applicationStatuses": {"endpoint": {"status": "UNHEALTHY", "message": "golden examples differ"}},
        },
    }
    setting.settle(ENDPOINT_KEY)
    assert setting.status("InferenceEndpoint")["phase"] == "Degraded"
    assert "golden examples differ" in setting.condition("Degraded", "InferenceEndpoint")["message"]


BOUNDED_ENDPOINT = changed(PLAIN_ENDPOINT, ("spec", "rollout"), {"rollback": {"maxErrorRate": 0.1}})


def _serves_the_second(setting: Setting, endpoint: dict[str, Any] = BOUNDED_ENDPOINT) -> None:
    """An endpoint that answers, and whose alias has moved to the second version."""
    setting.submit(endpoint)
    setting.settle(ENDPOINT_KEY)
    setting.aliases["flowers@champion"] = "flowers/2"
    setting.cluster.objects["RayService", "team", "flowers"]["status"] = {
        "conditions": [{"type": "Ready", "status": "True"}],
        "numServeEndpoints": 1,
        "activeServiceStatus": {"rayClusterName": "a"},
    }
    setting.settle(ENDPOINT_KEY)


def _gave_up(version: int) -> list[GivenUpVersion]:
    words = {"given_up": f"flowers/{version}", "serving": "flowers/1", "message": "half of its requests failed."}
    return [GivenUpVersion.model_validate({"model": "flowers@champion", **words})]


def test_a_version_that_replicas_gave_up_is_told(setting: Setting) -> None:
    """Conditions, an event and what is served instead, until the alias moves on; the endpoint is ready all along."""
    _serves_the_second(setting)
    assert setting.condition("RollingBack", "InferenceEndpoint")["status"] == "False"
    assert set(setting.asked) == {"flowers-replicas.team:9091"}
    setting.given_up = _gave_up(2)
    setting.settle(ENDPOINT_KEY)
    status = setting.status("InferenceEndpoint")
    assert (status["phase"], status["message"]) == ("Degraded", "half of its requests failed.")
    assert status["models"] == [{"model": "flowers@champion", "resolved": "flowers/2", "serving": "flowers/1"}]
    assert status["model"] == "flowers/1"
    assert setting.condition("RollingBack", "InferenceEndpoint")["reason"] == "VersionGivenUp"
    told = {type_: setting.condition(type_, "InferenceEndpoint")["status"] for type_ in ("Ready", "ModelsCurrent")}
    assert told == {"Ready": "True", "ModelsCurrent": "False"}
    assert "VersionGivenUp" in setting.events()
    silent, setting.given_up = setting.given_up, None
    setting.settle(ENDPOINT_KEY)
    assert setting.status("InferenceEndpoint") == status  # one silence does not undo it
    setting.given_up = silent
    setting.aliases["flowers@champion"] = "flowers/3"  # which the replicas, who still speak of the second, come to next
    setting.settle(ENDPOINT_KEY)
    assert setting.condition("RollingBack", "InferenceEndpoint")["status"] == "False"
    assert setting.status("InferenceEndpoint")["model"] == "flowers/3"


def test_replicas_that_do_not_answer_leave_it_open(setting: Setting) -> None:
    """Whether a version was given up is then unknown, which is said; nothing else changes."""
    setting.given_up = None
    _serves_the_second(setting)
    condition = setting.condition("RollingBack", "InferenceEndpoint")
    assert (condition["status"], condition["reason"]) == ("Unknown", "ReplicasSilent")
    assert setting.status("InferenceEndpoint")["phase"] == "Ready"


def test_replicas_are_asked_only_where_there_are_bounds(setting: Setting) -> None:
    """Without them there is no Service to ask them by and no condition; taken away, it no longer holds."""
    setting.given_up = _gave_up(2)
    _serves_the_second(setting, changed(PLAIN_ENDPOINT, ("spec", "grpc"), None))
    assert (setting.asked, setting.cluster.named("Service")) == ([], ())
    assert "RollingBack" not in {each["type"] for each in setting.status("InferenceEndpoint")["conditions"]}
    setting.submit(BOUNDED_ENDPOINT)
    setting.settle(ENDPOINT_KEY)
    assert "flowers-replicas" in setting.cluster.named("Service")
    assert setting.condition("RollingBack", "InferenceEndpoint")["status"] == "True"
    setting.submit(PLAIN_ENDPOINT)
    setting.settle(ENDPOINT_KEY)
    assert "flowers-replicas" not in setting.cluster.named("Service")
    assert setting.condition("RollingBack", "InferenceEndpoint")["status"] == "False"


def _beside(setting: Setting, name: str, *, namespace: str = "team", **fields: Any) -> Key:
    """Another job, seen by the operator."""
    content = changed(changed(JOB, ("metadata", "name"), name), ("metadata", "namespace"), namespace)
    for path, value in fields.items():
        content = changed(content, ("spec", *path.split("__")), value)
    setting.cluster.apply(content)
    key = Key(kind="FineTuneJob", namespace=namespace, name=name)
    setting.settle(key)
    return key


def test_jobs_that_will_move_the_same_alias_are_told(setting: Setting) -> None:
    """Each names the others until they have ended; of other namespaces only that there are some."""
    setting.submit()
    setting.settle()
    assert "SharesAlias" not in {each["type"] for each in setting.status()["conditions"]}
    _beside(setting, "tulips")
    _beside(setting, "secret", namespace="other")
    setting.settle()
    condition = setting.condition("SharesAlias")
    assert condition["status"] == "True"
    assert "FineTuneJobs tulips and 1 of another namespace will move flowers@champion" in condition["message"]
    assert "SharesAlias" in setting.events()
    for name, namespace in (("tulips", "team"), ("secret", "other")):
        setting.cluster.objects["FineTuneJob", namespace, name]["status"]["phase"] = "Failed"
    setting.settle()
    assert setting.condition("SharesAlias")["status"] == "False"


@pytest.mark.parametrize(
    "fields",
    [
        {"register": {"model": "roses", "alias": "champion"}},
        {"register": {"model": "flowers", "alias": "candidate"}},
        {"register": {"model": "flowers", "alias": None}},
        {"kubernetes": {"suspend": True}},
        {"schedule": {"cron": "0 3 * * *"}},
    ],
)
def test_jobs_that_will_not_move_it_are_none_of_its_affair(setting: Setting, fields: dict[str, Any]) -> None:
    """Another model or alias, no alias, a job that stands still, a schedule, which trains nothing itself."""
    _beside(setting, "tulips", **fields)
    setting.submit()
    setting.settle()
    assert "SharesAlias" not in {each["type"] for each in setting.status()["conditions"]}


def test_an_alias_is_no_longer_shared_when_the_job_has_ended(setting: Setting) -> None:
    """What was a warning while it trained is none about a model that stands."""
    setting.submit()
    setting.cluster.apply(changed(changed(JOB, ("metadata", "name"), "tulips"), ("metadata", "namespace"), "team"))
    setting.settle()
    assert setting.condition("SharesAlias")["status"] == "True"
    setting.succeed()
    setting.settle()
    assert setting.condition("Succeeded")["status"] == "True"
    assert setting.condition("SharesAlias")["reason"] == "Ended"


@pytest.mark.parametrize(("key", "content"), [(JOB_KEY, JOB), (ENDPOINT_KEY, BOUNDED_ENDPOINT)])
def test_what_somebody_takes_away_comes_back(setting: Setting, key: Key, content: dict[str, Any]) -> None:
    """Also a change to what stays; within the hour, by looks that come in any case."""
    setting.submit(content)
    setting.settle(key)
    made = {path: copy.deepcopy(found) for path, found in setting.cluster.objects.items() if path[0] != "Event"}
    for path in [path for path in made if path[0] in {"NetworkPolicy", "Service", "ServiceAccount", "Role"}]:
        del setting.cluster.objects[path]
    (ray,) = [path for path in made if path[0] in {"RayJob", "RayService"}]
    setting.cluster.objects[ray]["spec"] = {"changed": "by hand"}
    end = setting.now + timedelta(minutes=65)
    while setting.now < end:
        setting.now += timedelta(seconds=setting.look(key) or 300)
    assert {path for path in setting.cluster.objects if path[0] != "Event"} == set(made)
    assert setting.cluster.objects[ray]["spec"] == made[ray]["spec"]


def test_a_report_that_was_deleted_is_made_again(setting: Setting) -> None:
    """At the next look: the driver may write into it, and not make one."""
    setting.submit()
    setting.settle()
    setting.ray_status(jobDeploymentStatus="Running", jobStatus="RUNNING")
    (progress,) = [each for each in setting.cluster.named("ConfigMap") if each.endswith("-progress")]
    del setting.cluster.objects["ConfigMap", "team", progress]
    setting.settle()
    setting.succeed()
    setting.settle()
    assert setting.status()["phase"] == "Succeeded"


def test_whether_an_endpoint_answers_is_published(setting: Setting) -> None:
    """After each look, and nothing of one that is gone."""
    seen: list[Any] = []
    setting.submit(PLAIN_ENDPOINT)
    for _ in range(2):
        Reconciler(
            cluster=setting.cluster,
            defaults=DEFAULTS,
            clock=lambda: setting.now,
            resolve=setting.resolve,
            read_rollbacks=setting.read_rollbacks,
            on_seen=lambda key, status: seen.append((key, status)),
        ).look(ENDPOINT_KEY)
        setting.cluster.objects.pop(("InferenceEndpoint", "team", "flowers"), None)
    (first_key, first), (second_key, second) = seen
    assert first_key == second_key == ENDPOINT_KEY
    assert {each["type"]: each["status"] for each in first["conditions"]}["Ready"] == "False"
    assert second is None
