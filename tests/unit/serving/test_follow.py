from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from graftwork.endpoint_state import EndpointState
from graftwork.errors import PermanentError, Problem, SpecError
from graftwork.progress import SilentReporter
from graftwork.registry import Registry
from graftwork.settings import Settings
from graftwork_serving import follow
from graftwork_serving import resolve as resolve_module
from graftwork_serving.endpoint_config import ModelConfig, ReplicaConfig
from graftwork_serving.follow import Follower, moved_aliases, served_names
from graftwork_serving.resolve import resolve_models, resolve_reference
from graftwork_serving.rollouts import GivenUp
from graftwork_serving.spec_file import load_endpoint
from tests.support.small_bundles import make_small_bundle
from tests.unit.serving.test_rollouts import config


class Cluster:
    """Takes what replicas would be told."""

    def __init__(self) -> None:
        self.versions: list[list[str]] = []
        self.told: list[ReplicaConfig] = []
        self.prepared: list[ReplicaConfig] = []
        self.error: PermanentError | None = None
        self.refused: set[str] = set()
        self.has_replicas = True

    def prepare(self, replica: ReplicaConfig) -> bool:
        if not self.has_replicas:
            return False
        self.prepared.append(replica)
        if self.refused & {model.version for model in replica.models}:
            raise PermanentError("a bad bundle")
        return True

    def deploy(self, endpoint: object, replica: ReplicaConfig) -> None:
        if self.error is not None:
            raise self.error
        self.versions.append([model.version for model in replica.models])
        self.told.append(replica)


class Board:
    """Records in memory."""

    def __init__(self) -> None:
        self.records: list[GivenUp] = []

    def read(self, endpoint: str) -> list[GivenUp]:
        return self.records

    def write(self, record: GivenUp) -> None:
        self.records.append(record)

    def remove(self, record: GivenUp) -> None:
        self.records.remove(record)


class Endpoint:
    """A local endpoint on `flowers@champion` with everything but the replicas."""

    def __init__(self, folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, **rollout: Any) -> None:
        self.registry = Registry(settings)
        for seed in range(3):
            self.registry.register(make_small_bundle(folder / str(seed), seed=seed), "flowers", None)
        self.registry.set_alias("flowers", "champion", 1)
        spec = {"models": [{"model": "flowers@champion"}], "rollout": {"followAliases": "10s", **rollout}}
        file = folder / "endpoint.yaml"
        content = {"apiVersion": "graftwork.dev/v1alpha1", "kind": "InferenceEndpoint", "metadata": {"name": "e"}}
        file.write_text(yaml.safe_dump({**content, "spec": spec}))
        # These bundles hold no network to rehearse.
        monkeypatch.setattr(follow, "_rehearse", self._rehearse)
        loaded = load_endpoint(file)
        self.cluster, self.board, self.now_s = Cluster(), Board(), 0.0
        self.models = resolve_models(loaded.endpoint, base_dir=folder, settings=settings)
        self.rehearsed: list[set[str]] = []
        self.follower = Follower(
            loaded,
            self.models,
            EndpointState(name="e", url="", pid=1, process_started_at=0, spec_file=str(file), models=[]),
            cluster=self.cluster,  # type: ignore[arg-type]  # what the follower asks of it
            settings=settings,
            reporter=SilentReporter(),
            board=self.board,
            clock=lambda: self.now_s,
        )
        self.follower.start()

    def _rehearse(self, loaded: object, models: list[ModelConfig], *, known: set[str]) -> None:
        self.rehearsed.append({model.digest for model in models} - known)
        for model in models:
            if model.version in self.cluster.refused and model.digest not in known:
                raise SpecError(Problem(where=model.reference, received="a bad bundle", expected="", fix=""))

    def look_after(self, seconds: float) -> EndpointState:
        self.now_s += seconds
        self.follower.look()
        return self.follower.state


def test_a_moved_alias_is_followed_at_the_next_look(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replicas are told of the new version within the interval, once, and the state names it."""
    endpoint = Endpoint(tmp_path, settings, monkeypatch)
    endpoint.registry.set_alias("flowers", "champion", 2)
    assert endpoint.look_after(9).models == []
    assert endpoint.look_after(1).models == ["flowers 2"]
    assert endpoint.look_after(30).models == ["flowers 2"]
    assert endpoint.cluster.versions == [["1"], ["2"]]
    # Replicas have loaded it before they switch, while they get requests.
    assert endpoint.cluster.prepared == endpoint.cluster.told[1:]
    assert endpoint.rehearsed == []


def test_without_replicas_another_precision_is_rehearsed_with_what_is_served_already(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next replica would fail with models that fail in it; any other change of the file loads nothing twice."""
    endpoint = Endpoint(tmp_path, settings, monkeypatch)
    endpoint.cluster.has_replicas = False
    file = tmp_path / "endpoint.yaml"
    content = yaml.safe_load(file.read_text())
    for change in ({"batching": {"maxBatchSize": 2}}, {"precision": "bfloat16"}):
        content["spec"].update(change)
        file.write_text(yaml.safe_dump(content))
        endpoint.follower.follow_file()
        assert endpoint.follower.state.last_error is None
    assert endpoint.rehearsed == [set(), {model.digest for model in endpoint.models}]
    assert [config.precision for config in endpoint.cluster.told] == ["float32", "float32", "bfloat16"]


@pytest.mark.parametrize("has_replicas", [True, False])
def test_a_version_that_cannot_be_loaded_is_tried_once(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, *, has_replicas: bool
) -> None:
    """What is served stays, the state says why, and the next move of the alias is followed."""
    endpoint = Endpoint(tmp_path, settings, monkeypatch)
    endpoint.cluster.refused, endpoint.cluster.has_replicas = {"2"}, has_replicas
    endpoint.registry.set_alias("flowers", "champion", 2)
    for _ in range(3):
        state = endpoint.look_after(10)
        assert "a bad bundle" in (state.last_error or "")
    assert len(endpoint.cluster.prepared if has_replicas else endpoint.rehearsed) == 1
    endpoint.registry.set_alias("flowers", "champion", 3)
    assert endpoint.look_after(10).last_error is None
    assert endpoint.cluster.versions == [["1"], ["3"]]


def test_aliases_need_not_be_followed(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `followAliases: none` only an update of the endpoint follows them."""
    endpoint = Endpoint(tmp_path, settings, monkeypatch, followAliases="none")
    endpoint.registry.set_alias("flowers", "champion", 2)
    endpoint.look_after(10_000)
    assert endpoint.cluster.versions == [["1"]]
    endpoint.follower.follow_file()
    assert endpoint.cluster.versions == [["1"], ["2"]]
    assert endpoint.follower.state.revision == 1


def test_what_replicas_gave_up_is_told(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state names the version that answers and why the other does not, until the alias moves on."""
    endpoint = Endpoint(tmp_path, settings, monkeypatch, rollback={"maxErrorRate": 0.1})
    endpoint.registry.set_alias("flowers", "champion", 2)
    endpoint.look_after(10)
    (bad,) = endpoint.follower._models
    record = GivenUp(endpoint="e", bad=bad, good=endpoint.models[0], bound="error-rate", why="half failed")
    endpoint.board.write(record)
    state = endpoint.look_after(2)
    assert state.models == ["flowers 1"]
    assert "version 2 was given up for version 1: half failed" in state.given_up[0]
    endpoint.registry.set_alias("flowers", "champion", 3)
    state = endpoint.look_after(10)
    assert (state.models, state.given_up) == (["flowers 3"], [])


def test_only_aliases_are_looked_up() -> None:
    """A pinned version and a directory never move."""
    pinned = config(2, reference="flowers/2").model_copy(update={"alias": None})
    asked: list[str] = []

    def look_up(reference: str) -> str:
        asked.append(reference)
        return "flowers/4"

    assert moved_aliases([config(3), pinned], look_up) == ({"flowers@champion": "flowers/4"}, {})
    assert moved_aliases([config(4), pinned], look_up) == ({}, {})
    assert set(asked) == {"flowers@champion"}
    assert served_names([config(3), pinned]) == ["flowers 3", "flowers 2"]


def test_an_alias_that_is_gone_does_not_hold_up_the_others(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it pointed to stays and the state says so until it is back; a move of another alias is followed."""
    endpoint = Endpoint(tmp_path, settings, monkeypatch)
    endpoint.registry.set_alias("flowers", "challenger", 3)
    file = tmp_path / "endpoint.yaml"
    content = yaml.safe_load(file.read_text())
    shared = [{"model": "flowers@champion", "traffic": 90}, {"model": "flowers@challenger", "traffic": 10}]
    content["spec"]["models"] = shared
    file.write_text(yaml.safe_dump(content))
    endpoint.follower.follow_file()
    found = endpoint.follower._look_up
    gone = {"flowers@challenger"}

    def look_up(reference: str) -> str:
        if reference in gone:
            raise SpecError(Problem(where=reference, received="no such alias", expected="one", fix="Name a version."))
        return found(reference)

    def resolve(reference: str, *args: Any, **kwargs: Any) -> Any:
        assert reference not in gone, "what is gone is not asked for"
        return resolve_reference(reference, *args, **kwargs)

    monkeypatch.setattr(resolve_module, "resolve_reference", resolve)
    endpoint.follower._look_up = look_up
    assert "flowers@challenger: received no such alias" in (endpoint.look_after(10).last_error or "")
    endpoint.registry.set_alias("flowers", "champion", 2)
    state = endpoint.look_after(10)
    assert state.models == ["flowers 2", "flowers 3"]
    assert "flowers@challenger" in (state.last_error or "")
    assert [(each.alias, each.traffic) for each in endpoint.cluster.told[-1].models] == [
        ("champion", 90),
        ("challenger", 10),
    ]
    gone.clear()
    assert endpoint.look_after(10).last_error is None
    endpoint.registry.set_alias("flowers", "challenger", 1)
    assert endpoint.look_after(10).models == ["flowers 2", "flowers 1"]
