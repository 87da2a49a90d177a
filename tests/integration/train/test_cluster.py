"""Training on a Ray cluster of several machines, with checkpoints in an S3 bucket."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graftwork.errors import PermanentError, SpecError
from graftwork.progress import SilentReporter
from graftwork_jobs.events import read_events
from graftwork_jobs.train.launch import train
from graftwork_jobs.train.ray_cluster import connected_ray
from graftwork_jobs.train.request import TrainRequest, TrainResult
from tests.integration.train.small_jobs import SmallData, history_of, scores_of, small_request

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

_BUCKET = "graft-tests"
_DEADLINE_S = 300.0
_LOOK_EVERY_S = 0.1
_TWO_EPOCHS: dict[str, Any] = {
    "phases": [{"name": "head", "epochs": 2, "unfreeze": "none", "learningRate": 0.01}],
    "features": {"cache": "none"},
}


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server that speaks S3, with an empty bucket; gives (client, storage URI)."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}.items():
            patch.setenv(name, value)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        server.start()
        host, port = server.get_host_and_port()
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        client.create_bucket(Bucket=_BUCKET)
        yield client, f"s3://{_BUCKET}/runs?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
        server.stop()


@pytest.fixture(scope="module")
def cluster(s3: Any, no_local_ray: None) -> Iterator[Any]:
    """A head without room for workers, where the driver runs, and a machine with one core."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        found = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, "node_ip_address": "127.0.0.2"},
        )
        found.add_node(num_cpus=1, node_ip_address="127.0.0.3")
        yield found
        found.shutdown()


@pytest.fixture(scope="module")
def trained(cluster: Any, s3: Any, small_data: SmallData, tmp_path_factory: pytest.TempPathFactory) -> TrainRequest:
    """A job that was trained by a worker on another machine than the driver's."""
    run_dir = tmp_path_factory.mktemp("cluster") / "elsewhere"
    request = replace(small_request(small_data, run_dir, **_TWO_EPOCHS), storage=s3[1])
    with connected_ray(cluster.address, storage=request.storage):
        train(request, SilentReporter())
    return request


def _keys(s3: Any, prefix: str) -> list[str]:
    listed = s3[0].list_objects_v2(Bucket=_BUCKET, Prefix=prefix)
    return [entry["Key"] for entry in listed.get("Contents", [])]


def test_results_arrive_on_the_drivers_machine(trained: TrainRequest) -> None:
    """Weights, predictions, events and the result, although the worker ran elsewhere."""
    assert trained.weights_file.stat().st_size > 0
    assert (trained.predictions_dir / "test.npz").is_file()
    assert len(history_of(trained)) == 2
    assert [event["kind"] for event in read_events(trained.events_file)].count("epoch") == 2


def test_checkpoints_are_in_the_bucket(trained: TrainRequest, s3: Any) -> None:
    """Whole ones: each holds its state file, which is written last; none on the driver's machine."""
    keys = _keys(s3, f"runs/{trained.run_name}/checkpoint_2")
    folders = {key.rsplit("/", 1)[0] for key in keys}
    assert len(folders) == 2
    assert {f"{folder}/state.json" for folder in folders} <= set(keys)
    assert not trained.checkpoints_dir.exists()


def test_a_run_goes_on_from_the_bucket(trained: TrainRequest, cluster: Any, s3: Any, tmp_path: Path) -> None:
    """A driver on a fresh machine, with nothing but the run's name, trains only what is left."""
    job = trained.job.model_dump(mode="json", by_alias=True)
    job["spec"]["phases"].append({"name": "tune", "epochs": 1, "unfreeze": "all", "learningRate": 0.001})
    elsewhere = replace(trained, run_dir=tmp_path / "run", job=type(trained.job).model_validate(job))
    elsewhere.run_dir.mkdir()
    with connected_ray(cluster.address, storage=elsewhere.storage):
        train(elsewhere, SilentReporter())
    done = [event["phase"] for event in read_events(elsewhere.events_file) if event["kind"] == "epoch"]
    assert done == ["tune"]
    assert history_of(elsewhere)[:2] == history_of(trained)


@pytest.mark.slow
def test_workers_come_and_go_with_machines(cluster: Any, s3: Any, small_data: SmallData, tmp_path: Path) -> None:
    """One worker while there is room for one, two when a machine joins, one when it is lost: the same outcome."""
    phases = [{"name": "head", "epochs": 400, "unfreeze": "none", "learningRate": 0.01}]
    scaling = {"workers": 2, "minWorkers": 1, "checkpointEverySeconds": 2, "preflight": "none"}
    spec: dict[str, Any] = {"phases": phases, "features": {"cache": "none"}, "scaling": scaling}
    request = replace(small_request(small_data, tmp_path / "elastic", **spec), storage=s3[1])
    with connected_ray(cluster.address, storage=request.storage), ThreadPoolExecutor(1) as pool:
        training = pool.submit(train, request, SilentReporter(), cluster_may_grow=True)
        _until(lambda: _kinds(request).count("epoch") >= 2, training)
        machine = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.4")
        _until(lambda: _worlds(request) == [1, 2], training)
        done = _kinds(request).count("epoch")
        _until(lambda: _kinds(request).count("epoch") >= done + 2, training)
        cluster.remove_node(machine, allow_graceful=False)
        training.result()
    assert _worlds(request) == [1, 2, 1]

    peace = replace(small_request(small_data, tmp_path / "peace", **{**spec, "scaling": {}}), storage=s3[1])
    with connected_ray(cluster.address, storage=peace.storage):
        train(peace, SilentReporter())
    np.testing.assert_allclose(scores_of(request), scores_of(peace), rtol=1e-3, atol=1e-4)
    assert len(history_of(request)) == len(history_of(peace))


@pytest.mark.slow
def test_waiting_for_room_ends(cluster: Any, s3: Any, small_data: SmallData, tmp_path: Path) -> None:
    """A job larger than the cluster waits for machines, but not for ever; the sentence names both sizes."""
    scaling = {"workers": 3, "schedulingTimeoutSeconds": 5}
    request = replace(small_request(small_data, tmp_path / "large", scaling=scaling), storage=s3[1])
    with (
        pytest.raises(PermanentError, match=r"did not start within 5 s.*Each of 3 needs 1 CPU; the cluster has 1 CPU"),
        connected_ray(cluster.address, storage=request.storage),
    ):
        train(request, SilentReporter(), cluster_may_grow=True)


def _kinds(request: TrainRequest) -> list[str]:
    return [event["kind"] for event in read_events(request.events_file)]


def _worlds(request: TrainRequest) -> list[int]:
    return [event["workers"] for event in read_events(request.events_file) if event["kind"] == "workers_started"]


def _until(condition: Callable[[], bool], training: Future[TrainResult]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        assert not training.done(), training.result()
        time.sleep(_LOOK_EVERY_S)


def test_storage_must_be_shared(cluster: Any) -> None:
    """Refused before anything is trained: another machine could not go on."""
    with pytest.raises(SpecError, match="GRAFT_STORAGE"), connected_ray(cluster.address, storage=None):
        pass


def test_no_cluster_at_the_address(no_local_ray: None) -> None:
    """Said with the address and the way out."""
    with (
        pytest.raises(PermanentError, match=r"RAY_ADDRESS: received 127\.0\.0\.1:9"),
        connected_ray("127.0.0.1:9", storage=None),
    ):
        pass
