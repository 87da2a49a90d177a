from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from graftwork.cli import smoke_test
from graftwork.cli.smoke_test import NAME, SmokeTest
from graftwork.errors import PermanentError
from graftwork.spec.load import check_text
from tests.support.fake_cluster import FakeCluster

ROOT = Path(__file__).parents[3]
LABELS = ("animal", "clothing", "face", "flag", "food", "hand", "person", "place", "sky", "transport")
TRAINED = {"phase": "Succeeded", "accuracy": "0.6200", "model": f"{NAME}/1"}
SERVED = {"phase": "Ready", "url": "http://there:8000"}


class Played:
    """A smoke test on a cluster in memory, whose operator does at once what the test says.

    Args:
        job: status of the job.
        endpoint: status of the endpoint.
    """

    def __init__(self, job: Mapping[str, Any] = TRAINED, endpoint: Mapping[str, Any] = SERVED) -> None:
        self.cluster, self.said, self.forgotten, self.now_s = FakeCluster(), list[str](), list[str](), 0.0
        self._statuses = {"FineTuneJob": job, "InferenceEndpoint": endpoint}

    def run(
        self,
        *,
        registry: str | None = "http://mlflow:5000",
        score: float = 0.1,
        sleep: Callable[[float], None] | None = None,
    ) -> dict[str, Any]:
        return SmokeTest(
            cluster=self.cluster,
            namespace="team",
            registry=registry,
            ask=lambda _: {"predictions": [{"scores": dict.fromkeys(LABELS, score)}]},
            forget=self.forgotten.append,
            clock=lambda: self.now_s,
            sleep=sleep or self._operator_works,
            say=self.said.append,
        ).run(timeout_s=600)

    def left(self) -> list[tuple[str, str, str]]:
        return list(self.cluster.objects)

    def _operator_works(self, seconds: float) -> None:
        self.now_s += seconds
        for (kind, _, _), found in self.cluster.objects.items():
            found["status"] = dict(self._statuses[kind])


def test_all_is_tried_and_taken_away() -> None:
    """Job, endpoint and answer, each told; nothing is left on the cluster or in the registry."""
    played = Played()
    result = played.run()
    assert result == {"accuracy": "0.6200", "model": f"{NAME}/1", "url": "http://there:8000"}
    assert [name for name, _ in played.cluster.history] == ["FineTuneJob", "InferenceEndpoint"]
    assert "Trained: accuracy 0.6200 on the test set." in played.said
    assert "Served: http://there:8000 answers with 10 labels." in played.said
    assert played.said[-1] == "All is well."
    assert played.left() == []
    assert played.forgotten[-1] == "http://mlflow:5000"


def test_without_a_registry_the_job_alone_is_tried() -> None:
    """Nothing can be served then, and that is said."""
    played = Played(job={"phase": "Succeeded"})
    played.run(registry=None)
    assert [name for name, _ in played.cluster.history] == ["FineTuneJob"]
    assert any("mlflow.trackingUri" in line for line in played.said)
    assert played.forgotten == []


@pytest.mark.parametrize(
    ("job", "endpoint", "score", "reason"),
    [
        ({"phase": "Failed", "message": "accuracy 0.1 < 0.3"}, SERVED, 0.1, "accuracy 0.1 < 0.3"),
        (TRAINED, {"phase": "Starting", "observedGeneration": 1}, 0.1, "Allow more time with --timeout"),
        (TRAINED, SERVED, 0.01, "add up to less than 1"),
    ],
)
def test_what_goes_wrong_is_the_reason(
    job: dict[str, Any], endpoint: dict[str, Any], score: float, reason: str
) -> None:
    """The test ends with what is wrong, and takes away what there is all the same."""
    played = Played(job, endpoint)
    with pytest.raises(PermanentError, match=reason):
        played.run(score=score)
    assert played.left() == []


def test_the_cause_on_the_cluster_is_the_reason() -> None:
    """A pod whose image cannot be pulled is named, as `graft why` does."""
    played = Played()
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}
    container = {"name": "ray-head", "image": "graftwork-train:0.1.0", "state": waiting}

    def operator_starts_a_pod(seconds: float) -> None:
        played.now_s += seconds
        played.cluster.objects["FineTuneJob", "team", NAME]["status"] = {"phase": "Starting", "observedGeneration": 1}
        played.cluster.objects["Pod", "team", "head"] = {
            "kind": "Pod",
            "metadata": {"name": "head", "namespace": "team", "uid": "p", "labels": {"graftwork.dev/job": NAME}},
            "status": {"containerStatuses": [container]},
        }

    with pytest.raises(PermanentError, match=r"ImagePull: .*graftwork-train:0.1.0 cannot be pulled"):
        played.run(sleep=operator_starts_a_pod)


def test_what_an_earlier_one_left_goes_first() -> None:
    """A test that was cut off does not stop the next one."""
    played = Played()
    left = smoke_test.job(register=True)
    played.cluster.create({**left, "metadata": {"name": NAME, "namespace": "team"}})
    played.run()
    assert [name for name, _ in played.cluster.history] == ["FineTuneJob", "FineTuneJob", "InferenceEndpoint"]


@pytest.mark.parametrize("content", [smoke_test.job(register=True), smoke_test.endpoint("x/1")])
def test_what_is_submitted_is_right(content: dict[str, Any]) -> None:
    """Both specs are ones that `graft validate` takes."""
    loaded, problems = check_text(yaml.safe_dump(content), file="x.yaml", base_dir=ROOT)
    assert (len(loaded), problems) == (1, [])


def test_the_training_image_brings_what_the_job_reads() -> None:
    """The Dockerfile copies the examples to where the job looks, and they are there."""
    assert f"COPY examples {smoke_test.EXAMPLES}\n" in (ROOT / "Dockerfile").read_text()
    spec = smoke_test.job(register=False)["spec"]
    paths = [spec["backbone"]["path"], spec["data"]["train"]["uri"], spec["data"]["test"]["uri"]]
    assert [
        path for path in paths if not (ROOT / "examples" / path.removeprefix(f"{smoke_test.EXAMPLES}/")).exists()
    ] == []


def test_the_picture_is_one() -> None:
    """A PNG that a library reads."""
    with Image.open(io.BytesIO(smoke_test.picture())) as image:
        assert (image.format, image.size, image.getpixel((5, 5))) == ("PNG", (64, 64), (240, 200, 40))
