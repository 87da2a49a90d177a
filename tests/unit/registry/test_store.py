"""Registering, resolving, aliases; with a real database."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graftwork.bundle.directory import BundleError, open_bundle
from graftwork.bundle.files import DiskFullError, files_below
from graftwork.errors import SpecError
from graftwork.registry import Registry
from graftwork.settings import Settings
from tests.support.small_bundles import make_small_bundle


@pytest.fixture
def two_versions(registry: Registry, tmp_path: Path) -> Registry:
    """The model `colours` with versions 1 and 2, champion on 2."""
    for seed in (1, 2):
        registry.register(make_small_bundle(tmp_path / str(seed), seed=seed, accuracy=seed / 10), "colours", "champion")
    return registry


def state(registry: Registry, settings: Settings) -> tuple[Any, ...]:
    """Everything a user could see: models, stored files, runs."""
    artifacts = settings.artifacts_dir
    client = registry._client
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = sorted(run.info.run_id for run in client.search_runs(experiments))
    return registry.list_models(), files_below(artifacts) if artifacts.exists() else [], runs


# Registering and resolving


def test_registered_bundle_comes_back_by_alias_and_version(registry: Registry, tmp_path: Path) -> None:
    """Both references lead to a checked copy with the same content."""
    bundle = make_small_bundle(tmp_path / "b")
    registration = registry.register(bundle, "colours", "champion")
    assert (registration.version, registration.created) == (1, True)
    by_alias, by_version = registry.resolve("colours@champion"), registry.resolve("colours/1")
    assert by_alias.digest == by_version.digest == bundle.digest
    assert (by_alias.name, by_alias.version, by_alias.alias) == ("colours", 1, "champion")
    assert by_alias.path != bundle.path
    assert files_below(by_alias.path) == files_below(bundle.path)


def test_registered_bundle_survives_the_run_folder(registry: Registry, tmp_path: Path) -> None:
    """The registry holds a copy of its own."""
    bundle = make_small_bundle(tmp_path / "b")
    registry.register(bundle.path, "colours", "champion")
    (bundle.path / "model.keras").write_bytes(b"changed")
    assert registry.resolve("colours@champion").digest == bundle.digest


def test_alias_follows_the_newest_registration(two_versions: Registry) -> None:
    """The second bundle takes the alias; the first keeps its number."""
    assert two_versions.resolve("colours@champion").version == 2
    assert two_versions.resolve("colours/1").bundle.manifest.metrics["accuracy"] == 0.1


def test_same_bundle_keeps_its_version(two_versions: Registry, tmp_path: Path) -> None:
    """Registering again, as a continued run does, makes no second version, but moves the alias."""
    again = two_versions.register(tmp_path / "1", "colours", "champion")
    assert (again.version, again.created) == (1, False)
    assert two_versions.resolve("colours@champion").version == 1
    assert len(two_versions.show_model("colours").versions) == 2


def test_lost_copy_is_registered_anew(two_versions: Registry, tmp_path: Path) -> None:
    """A version whose stored bundle is damaged is not passed off as this bundle."""
    stored = two_versions.resolve("colours/1").path / "model.keras"
    stored.write_bytes(b"damaged")
    again = two_versions.register(tmp_path / "1", "colours", "champion")
    assert (again.version, again.created) == (3, True)


def test_without_alias_none_moves(two_versions: Registry, tmp_path: Path) -> None:
    """A version can be registered for later."""
    two_versions.register(make_small_bundle(tmp_path / "3", seed=3), "colours")
    model = two_versions.show_model("colours")
    assert model.aliases == {"champion": 2}
    assert [version.version for version in model.versions] == [3, 2, 1]


def test_bundle_path_needs_no_registry(tmp_path: Path, settings: Settings) -> None:
    """A bundle directory is resolved without a database being made."""
    bundle = make_small_bundle(tmp_path / "made" / "flowers")
    resolved = Registry(settings).resolve(str(bundle.path))
    assert (resolved.name, resolved.version, resolved.path) == ("flowers", None, bundle.path)
    assert not (settings.home / "mlflow").exists()


def test_damaged_bundle_is_not_registered(registry: Registry, settings: Settings, tmp_path: Path) -> None:
    """What would be refused later is refused now."""
    bundle = make_small_bundle(tmp_path / "b")
    (bundle.path / "model.keras").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"model\.keras"):
        registry.register(bundle, "colours", "champion")
    assert registry.list_models() == ()


def test_damage_in_the_registry_is_noticed(two_versions: Registry) -> None:
    """A byte changed in the registry's storage is named when the bundle is asked for."""
    stored = two_versions.resolve("colours/2").path
    (stored / "openvino" / "model.bin").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"model\.bin"):
        two_versions.resolve("colours@champion")


def test_exchanged_bundle_in_the_registry_is_noticed(two_versions: Registry) -> None:
    """A whole bundle in the place of another is not the one that was registered."""
    first, second = (two_versions.resolve(f"colours/{number}").path for number in (1, 2))
    for name in files_below(first):
        (second / name).write_bytes((first / name).read_bytes())
    with pytest.raises(BundleError, match="another bundle"):
        two_versions.resolve("colours@champion")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("colors@champion", "Did you mean `colours`"),
        ("colours@champoin", "Did you mean `champion`"),
        ("colours@Champion", "Did you mean `colours@champion`"),
        ("colours@other", r"champion \(version 2\).*colours/2"),
        ("colours/9", "versions of colours: 1, 2"),
        ("colours", "Write colours@champion or colours/2"),
        ("nothing", "Registered are colours"),
        ("./nothing", "no such directory"),
    ],
)
def test_unknown_reference_lists_what_there_is(two_versions: Registry, reference: str, message: str) -> None:
    """The error names the models, versions or aliases that exist."""
    with pytest.raises(SpecError, match=message):
        two_versions.resolve(reference)


def test_empty_registry_says_the_next_step(registry: Registry) -> None:
    """Nothing to list yet: how to get something."""
    with pytest.raises(SpecError, match="graft run"):
        registry.resolve("colours@champion")


def test_directory_that_looks_like_a_version(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error tells how to name the directory."""
    make_small_bundle(tmp_path / "colours" / "3")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=r"Write \./colours/3"):
        registry.resolve("colours/3")
    assert registry.resolve("./colours/3").version is None


@pytest.mark.parametrize(("name", "alias"), [("Colours", "champion"), ("colours", "latest"), ("a/b", None)])
def test_unusable_names_are_refused_first(registry: Registry, tmp_path: Path, name: str, alias: str | None) -> None:
    """Nothing is written under a name no reference could hold."""
    bundle = make_small_bundle(tmp_path / "b")
    with pytest.raises(SpecError, match="expected 1 to 63 lower-case letters"):
        registry.register(bundle, name, alias)
    assert registry.list_models() == ()


# Removing


def test_a_removed_version_is_gone_with_its_bundle(two_versions: Registry, settings: Settings) -> None:
    """The other one stays, with its alias and its files."""
    two_versions.remove("colours", 1)
    model = two_versions.show_model("colours")
    assert [version.version for version in model.versions] == [2]
    assert two_versions.resolve("colours@champion").version == 2
    assert list(settings.artifacts_dir.rglob("manifest.json")) == [
        two_versions.resolve("colours/2").path / "manifest.json"
    ]
    with pytest.raises(SpecError, match="version 1, expected one of the versions of colours: 2"):
        two_versions.remove("colours", 1)


def test_what_an_alias_points_to_is_not_removed(two_versions: Registry, settings: Settings) -> None:
    """Something may be served by it."""
    before = state(two_versions, settings)
    with pytest.raises(SpecError, match=r"champion points to.*graft models alias colours champion VERSION"):
        two_versions.remove("colours", 2)
    assert state(two_versions, settings) == before


def test_a_model_goes_with_its_last_version(registry: Registry, tmp_path: Path) -> None:
    """Rather than staying as a name without anything. Its numbers go on: none ever means two bundles."""
    bundle = make_small_bundle(tmp_path / "b")
    registry.register(bundle, "colours", None)
    registry.remove("colours", 1)
    assert registry.list_models() == ()
    with pytest.raises(SpecError, match="Nothing is registered yet"):
        registry.resolve("colours/1")
    assert registry.register(bundle, "colours", "champion").version == 2
    with pytest.raises(SpecError, match="version 1, expected one of the versions of colours: 2"):
        registry.resolve("colours/1")


# All or nothing


def fail(*_args: object, **_kwargs: object) -> None:
    """Stand in for a step that breaks."""
    raise ConnectionError("injected")


@pytest.mark.parametrize("existing", [False, True], ids=["first-version", "second-version"])
@pytest.mark.parametrize(
    "step",
    [
        "create_run",
        "log_artifacts",
        "set_terminated",
        "create_registered_model",
        "create_model_version",
        "set_registered_model_tag",
        "set_registered_model_alias",
    ],
)
def test_failed_registration_leaves_the_registry_as_it_was(
    registry: Registry, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, existing: bool
) -> None:
    """Whichever step fails: same models, versions, aliases, history, files and runs; and it can be repeated."""
    if existing:
        registry.register(make_small_bundle(tmp_path / "1", seed=1), "colours", "champion")
    bundle = make_small_bundle(tmp_path / "2", seed=2)
    before = state(registry, settings)
    with monkeypatch.context() as patch:
        patch.setattr(registry._client, step, fail)
        with pytest.raises(ConnectionError, match="injected"):
            registry.register(bundle, "colours", "champion")
    assert state(registry, settings) == before
    registry.register(bundle, "colours", "champion")
    assert registry.resolve("colours@champion").digest == bundle.digest


def damage_one_file(registry: Registry, log_artifacts: Callable[..., None]) -> Callable[..., None]:
    """An upload that flips a byte on its way."""

    def log_and_damage(run: str, directory: str, folder: str) -> None:
        log_artifacts(run, directory, folder)
        file = Path(registry._tracking.artifact_uri(run, folder).removeprefix("file://")) / "model.keras"
        content = file.read_bytes()
        file.write_bytes(bytes([content[0] ^ 1]) + content[1:])

    return log_and_damage


def test_upload_damaged_on_its_way_is_not_registered(
    registry: Registry, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy is checked before a version exists."""
    before = state(registry, settings)
    monkeypatch.setattr(registry._client, "log_artifacts", damage_one_file(registry, registry._client.log_artifacts))
    with pytest.raises(BundleError, match=r"model\.keras"):
        registry.register(make_small_bundle(tmp_path / "b"), "colours", "champion")
    assert state(registry, settings) == before


def test_full_disk_is_told_and_leaves_nothing(
    registry: Registry, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an upload is removed again."""
    before = state(registry, settings)
    log_artifacts = registry._client.log_artifacts

    def half(run: str, directory: str, folder: str) -> None:
        log_artifacts(run, str(Path(directory) / "golden"), folder)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(registry._client, "log_artifacts", half)
    with pytest.raises(DiskFullError, match="Free some space"):
        registry.register(make_small_bundle(tmp_path / "b"), "colours", "champion")
    assert state(registry, settings) == before


def test_failed_registration_keeps_the_tracked_run(
    registry: Registry, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record of the training is not the registration's to remove."""
    run = registry.track_run("colours", "r1", {}, [], {"accuracy": 0.5})
    before = state(registry, settings)
    monkeypatch.setattr(registry._client, "create_model_version", fail)
    with pytest.raises(ConnectionError):
        registry.register(make_small_bundle(tmp_path / "b"), "colours", "champion", run)
    assert state(registry, settings) == before


# Looking


def test_versions_tell_metrics_and_lineage(two_versions: Registry, tmp_path: Path) -> None:
    """What the manifest says is what the registry shows."""
    newest = two_versions.show_model("colours").versions[0]
    manifest = open_bundle(tmp_path / "2").manifest
    assert newest.metrics == {"accuracy": 0.2, "loss": 0.7, "other-camera/accuracy": 0.25}
    assert (newest.job, newest.run_id) == (manifest.lineage.job, manifest.lineage.run_id)
    assert (newest.data_digest, newest.backbone) == ("d1", "EfficientNetB0")
    assert newest.digest == manifest.manifest_digest
    assert newest.aliases == ("champion",)


def test_models_are_listed_by_name(two_versions: Registry, tmp_path: Path) -> None:
    """All models, with their versions."""
    two_versions.register(make_small_bundle(tmp_path / "x"), "animals", "champion")
    models = two_versions.list_models()
    assert [(model.name, len(model.versions)) for model in models] == [("animals", 1), ("colours", 2)]


def test_alias_metrics_for_gates(two_versions: Registry) -> None:
    """The champion's test metrics; none without a champion or a model."""
    assert two_versions.alias_metrics("colours", "champion") == two_versions.show_model("colours").versions[0].metrics
    assert two_versions.alias_metrics("colours", "challenger") is None
    assert two_versions.alias_metrics("flowers", "champion") is None


# Aliases


def test_rollback_goes_back_step_by_step(two_versions: Registry, tmp_path: Path) -> None:
    """3, 2, 1, and then there is nothing before."""
    two_versions.register(make_small_bundle(tmp_path / "3", seed=3), "colours", "champion")
    steps = [two_versions.rollback("colours", "champion") for _ in range(2)]
    assert [(step.before, step.after) for step in steps] == [(3, 2), (2, 1)]
    assert two_versions.resolve("colours@champion").version == 1
    with pytest.raises(SpecError, match="graft models alias colours champion VERSION"):
        two_versions.rollback("colours", "champion")


def test_rollback_says_when_the_version_before_is_deleted(two_versions: Registry) -> None:
    """That is another thing than an alias that never moved."""
    two_versions.remove("colours", 1)
    with pytest.raises(SpecError, match="version 2, before which it was 1, deleted since"):
        two_versions.rollback("colours", "champion")


def test_setting_an_alias_is_recorded(two_versions: Registry) -> None:
    """The history tells each move; setting what is set already is none."""
    change = two_versions.set_alias("colours", "champion", 1)
    assert (change.before, change.after) == (2, 1)
    two_versions.set_alias("colours", "champion", 1)
    moves = [(move.kind, move.version) for move in two_versions.show_model("colours").moves]
    assert moves == [("set", 1), ("set", 2), ("set", 1)]


def test_aliases_have_histories_of_their_own(two_versions: Registry) -> None:
    """Rolling one back does not look at the other's moves."""
    two_versions.set_alias("colours", "stable", 1)
    assert two_versions.rollback("colours", "champion").after == 1
    with pytest.raises(SpecError, match="colours@stable"):
        two_versions.rollback("colours", "stable")


def test_alias_of_an_unknown_version(two_versions: Registry) -> None:
    """The versions that exist are named, and the alias stays."""
    with pytest.raises(SpecError, match="versions of colours: 1, 2"):
        two_versions.set_alias("colours", "champion", 7)
    assert two_versions.show_model("colours").aliases == {"champion": 2}


def test_failed_alias_move_is_not_recorded(
    two_versions: Registry, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """History and alias stay together."""
    before = state(two_versions, settings)
    monkeypatch.setattr(two_versions._client, "set_registered_model_alias", fail)
    with pytest.raises(ConnectionError):
        two_versions.rollback("colours", "champion")
    assert state(two_versions, settings) == before


def test_move_that_arrived_but_was_not_confirmed_is_taken_back(
    two_versions: Registry, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost answer must not cost the champion: the alias points where it did."""
    before = state(two_versions, settings)
    client = two_versions._client
    move = client.set_registered_model_alias

    def move_and_lose_the_answer(name: str, alias: str, version: str) -> None:
        move(name, alias, version)
        if version == "3":
            raise ConnectionError("injected")

    monkeypatch.setattr(client, "set_registered_model_alias", move_and_lose_the_answer)
    with pytest.raises(ConnectionError):
        two_versions.register(make_small_bundle(tmp_path / "3", seed=3), "colours", "champion")
    assert state(two_versions, settings) == before


# Export


def test_export_copies_a_bundle_out(two_versions: Registry, tmp_path: Path) -> None:
    """The copy opens by itself and has the same digest."""
    exported = two_versions.export("colours/1", tmp_path / "out" / "colours")
    assert open_bundle(tmp_path / "out" / "colours") == exported
    assert exported.digest == open_bundle(tmp_path / "1").digest


def test_export_overwrites_nothing(two_versions: Registry, tmp_path: Path) -> None:
    """An occupied destination is the user's."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(SpecError, match="a path that exists"):
        two_versions.export("colours/1", tmp_path / "out")
    assert files_below(tmp_path / "out") == ["mine"]


# Tracking


def test_tracked_run_holds_spec_curves_and_report(registry: Registry, tmp_path: Path) -> None:
    """Parameters by dotted path, metrics by epoch, test metrics, report."""
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.html").write_text("x")
    history = [{"phase": "head", "epoch": 0, "loss": 2.0}, {"phase": "tune", "epoch": 0, "loss": 1.0}]
    spec = {"spec": {"phases": [{"epochs": 3}], "note": "x" * 7000}}
    run = registry.track_run("colours", "r1", spec, history, {"accuracy": 0.5}, tmp_path / "report")
    client = registry._client
    data = client.get_run(run).data
    assert data.params["spec.phases.0.epochs"] == "3"
    assert data.metrics["test/accuracy"] == 0.5
    assert [(point.step, point.value) for point in client.get_metric_history(run, "loss")] == [(0, 2.0), (1, 1.0)]
    assert [file.path for file in client.list_artifacts(run, "report")] == ["report/report.html"]


def test_long_history_is_recorded_whole(registry: Registry) -> None:
    """More values than MLflow takes in one call."""
    spec = {"spec": {f"key{index}": index for index in range(250)}}
    run = registry.track_run("colours", "r1", spec, [{"a": step, "b": step} for step in range(700)], {})
    assert len(registry._client.get_run(run).data.params) == 250
    assert len(registry._client.get_metric_history(run, "b")) == 700


def test_recording_a_run_again_gives_the_first_record(registry: Registry) -> None:
    """A continued run is not recorded twice."""
    first = registry.track_run("colours", "r1", {}, [{"loss": 1.0}], {})
    assert registry.track_run("colours", "r1", {}, [{"loss": 1.0}], {}) == first
    assert registry.track_run("colours", "r2", {}, [], {}) != first


def test_half_recorded_run_is_replaced(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that was cut off does not stay beside the whole one."""
    with monkeypatch.context() as patch:
        patch.setattr(registry._client, "set_terminated", fail)
        with pytest.raises(ConnectionError):
            registry.track_run("colours", "r1", {}, [{"loss": 1.0}], {})
    run = registry.track_run("colours", "r1", {}, [{"loss": 1.0}], {})
    experiment = registry._client.get_experiment_by_name("colours")
    assert experiment is not None
    assert experiment is not None
    assert [found.info.run_id for found in registry._client.search_runs([experiment.experiment_id])] == [run]
