"""Training on a Ray cluster of several machines, with checkpoints in an S3 bucket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graftwork.errors import PermanentError
from graftwork.progress import SilentReporter
from graftwork_jobs.events import read_events
from graftwork_jobs.train.launch import train
from graftwork_jobs.train.ray_cluster import connected_ray
from graftwork_jobs.train.request import TrainRequest
from tests.integration.train.machines import TAKE_AWAY
from tests.integration.train.small_jobs import SmallData, history_of, scores_of, small_request

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

_BUCKET = "graft-tests"
_DEADLINE_S = 300.0
_LOOK_EVERY_S = 0.1
_REPOSITORY = Path(__file__).parents[3]
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


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster in a process of its own.

    Attributes:
        address: of its head.
        process: takes orders, see `machines`.
    """

    address: str
    process: subprocess.Popen[str]

    def order(self, line: str) -> None:
        """Add a machine at an address, or take one away."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()


def _environment() -> dict[str, str]:
    """Without what another Ray of this process was told."""
    own = os.environ.items()  # noqa: TID251 - handed on
    return {name: value for name, value in own if not name.startswith("RAY_")} | {"RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture(scope="module")
def cluster(s3: Any) -> Iterator[Cluster]:
    """A head without room for workers, where the driver runs, and a machine with one core."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.train.machines"],
        cwd=_REPOSITORY,
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    yield Cluster(address=process.stdout.readline().strip(), process=process)
    process.communicate(timeout=_DEADLINE_S)


@dataclass(frozen=True, kw_only=True)
class Drive:
    """A driver's process.

    Attributes:
        request: what it trains.
        process: of the driver.
    """

    request: TrainRequest
    process: subprocess.Popen[str]

    def end(self) -> tuple[int, str]:
        """Wait; gives the exit code and what it said."""
        said = self.process.communicate(timeout=_DEADLINE_S)[1]
        return self.process.returncode, said

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that happens while the driver runs."""
        deadline = time.monotonic() + _DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline
            assert self.process.poll() is None, self.end()
            time.sleep(_LOOK_EVERY_S)


def _drive(
    data: SmallData, run_dir: Path, *, address: str, storage: str | None, spec: dict[str, Any], run_name: str = ""
) -> Drive:
    """Start a driver on a cluster."""
    order = {
        "data": str(data.root),
        "run_dir": str(run_dir),
        "run_name": run_name or run_dir.name,
        "address": address,
        "storage": storage,
        "spec": spec,
    }
    command = [sys.executable, "-m", "tests.integration.train.drive_cluster", json.dumps(order)]
    process = subprocess.Popen(
        command, cwd=_REPOSITORY, env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    return Drive(request=small_request(data, run_dir, **spec), process=process)


@pytest.fixture(scope="module")
def trained(cluster: Cluster, s3: Any, small_data: SmallData, tmp_path_factory: pytest.TempPathFactory) -> TrainRequest:
    """A job that was trained by a worker on another machine than the driver's."""
    run_dir = tmp_path_factory.mktemp("cluster") / "elsewhere"
    drive = _drive(small_data, run_dir, address=cluster.address, storage=s3[1], spec=_TWO_EPOCHS)
    code, said = drive.end()
    assert code == 0, said
    return drive.request


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


def test_a_run_goes_on_from_the_bucket(
    trained: TrainRequest, cluster: Cluster, s3: Any, small_data: SmallData, tmp_path: Path
) -> None:
    """A driver on a fresh machine, with nothing but the run's name, trains only what is left."""
    tune = {"name": "tune", "epochs": 1, "unfreeze": "all", "learningRate": 0.001}
    spec = {**_TWO_EPOCHS, "phases": [*_TWO_EPOCHS["phases"], tune]}
    drive = _drive(
        small_data, tmp_path / "run", address=cluster.address, storage=s3[1], spec=spec, run_name=trained.run_name
    )
    code, said = drive.end()
    assert code == 0, said
    done = [event["phase"] for event in read_events(drive.request.events_file) if event["kind"] == "epoch"]
    assert done == ["tune"]
    assert history_of(drive.request)[:2] == history_of(trained)


@pytest.mark.slow
def test_workers_come_and_go_with_machines(
    cluster: Cluster, s3: Any, small_data: SmallData, local_ray: Path, tmp_path: Path
) -> None:
    """One worker while there is room for one, two when a machine joins, one when it is lost: the same outcome."""
    phases = [{"name": "head", "epochs": 250, "unfreeze": "none", "learningRate": 0.01}]
    scaling = {"workers": 2, "minWorkers": 1, "checkpointEverySeconds": 2, "preflight": "none"}
    spec: dict[str, Any] = {"phases": phases, "features": {"cache": "none"}, "scaling": scaling}
    drive = _drive(small_data, tmp_path / "elastic", address=cluster.address, storage=s3[1], spec=spec)
    drive.until(lambda: _kinds(drive).count("epoch") >= 2)
    cluster.order("127.0.0.4")
    drive.until(lambda: _worlds(drive) == [1, 2])
    done = _kinds(drive).count("epoch")
    drive.until(lambda: _kinds(drive).count("epoch") >= done + 2)
    cluster.order(TAKE_AWAY)
    code, said = drive.end()
    assert code == 0, said
    assert _worlds(drive) == [1, 2, 1]

    peace = small_request(small_data, tmp_path / "peace", **{**spec, "scaling": {}})
    train(peace, SilentReporter())
    np.testing.assert_allclose(scores_of(drive.request), scores_of(peace), rtol=1e-3, atol=1e-4)
    assert len(history_of(drive.request)) == len(history_of(peace))


@pytest.mark.slow
def test_waiting_for_room_ends(cluster: Cluster, s3: Any, small_data: SmallData, tmp_path: Path) -> None:
    """A job larger than the cluster waits for machines, but not for ever; the sentence names both sizes."""
    scaling = {"workers": 3, "schedulingTimeoutSeconds": 5}
    drive = _drive(small_data, tmp_path / "large", address=cluster.address, storage=s3[1], spec={"scaling": scaling})
    code, said = drive.end()
    assert code == 1
    assert "did not start within 5 s" in said
    assert "Each of 3 needs 1 CPU; the cluster has 1 CPU" in said


def test_storage_must_be_shared(cluster: Cluster, small_data: SmallData, tmp_path: Path) -> None:
    """Refused before anything is trained: another machine could not go on."""
    code, said = _drive(small_data, tmp_path / "run", address=cluster.address, storage=None, spec=_TWO_EPOCHS).end()
    assert code == 1
    assert "GRAFT_STORAGE" in said


def test_no_cluster_at_the_address() -> None:
    """Said with the address and the way out."""
    with (
        pytest.raises(PermanentError, match=r"RAY_ADDRESS: received 127\.0\.0\.1:9"),
        connected_ray("127.0.0.1:9", storage=None),
    ):
        pass


def _kinds(drive: Drive) -> list[str]:
    return [event["kind"] for event in read_events(drive.request.events_file)]


def _worlds(drive: Drive) -> list[int]:
    return [event["workers"] for event in read_events(drive.request.events_file) if event["kind"] == "workers_started"]
