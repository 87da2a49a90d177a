"""`graft models`: what it prints; the registry itself is tested elsewhere."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from graftwork.bundle.manifest import TextSignature
from graftwork.cli.main import cli
from graftwork.endpoint_state import EndpointState, process_started_at, write_state
from graftwork.errors import Problem, SpecError
from graftwork.registry import Registry
from graftwork.registry.alias_history import AliasMove
from graftwork.registry.records import AliasChange, ModelVersion, RegisteredModel, ResolvedModel
from tests.support.small_bundles import make_small_bundle

VERSIONS = tuple(
    ModelVersion(
        name="flowers",
        version=number,
        aliases=("champion",) if number == 2 else (),
        created_at="2026-01-01T00:00:00+00:00",
        digest=str(number) * 64,
        job="flowers",
        run_id=f"r{number}",
        data_digest="d",
        backbone="EfficientNetB0",
        metrics={"accuracy": number / 10},
        source="file:///x",
    )
    for number in (2, 1)
)
MODEL = RegisteredModel(
    name="flowers",
    versions=VERSIONS,
    aliases={"champion": 2},
    moves=(AliasMove(alias="champion", at_ns=10**18, kind="set", version=2),),
)


def graft(*arguments: str) -> Result:
    """Run `graft models ...`."""
    return CliRunner().invoke(cli, ["models", *arguments])


def test_empty_registry_says_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an error, and not an empty table."""
    monkeypatch.setattr(Registry, "list_models", lambda _self: ())
    result = graft("list")
    assert result.exit_code == 0
    assert "No model is registered yet" in result.stdout
    assert "graft run FILE" in result.stdout


def test_empty_registry_as_json_is_an_empty_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs get data, not sentences."""
    monkeypatch.setattr(Registry, "list_models", lambda _self: ())
    assert json.loads(graft("list", "-o", "json").stdout) == []


def test_list_shows_aliases_and_figures_of_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line a model."""
    monkeypatch.setattr(Registry, "list_models", lambda _self: (MODEL,))
    heading, row = graft("list").stdout.splitlines()
    assert heading.split()[:3] == ["model", "versions", "newest"]
    assert row.split()[:6] == ["flowers", "2", "2", "champion", "->", "2"]
    assert "0.2000" in row


def test_figures_are_those_the_models_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers have no accuracy; a column nobody fills tells nothing."""
    numbers = replace(MODEL, versions=tuple(replace(each, metrics={"r2": 0.75}) for each in MODEL.versions))
    monkeypatch.setattr(Registry, "list_models", lambda _self: (numbers,))
    monkeypatch.setattr(Registry, "show_model", lambda _self, _name: numbers)
    for told in (graft("list").stdout, graft("show", "flowers").stdout):
        assert "r2" in told
        assert "0.7500" in told
        assert "accuracy" not in told


def test_show_lists_versions_and_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every version with its metrics, run and digest; then how the aliases moved."""
    monkeypatch.setattr(Registry, "show_model", lambda _self, _name: MODEL)
    text = graft("show", "flowers").stdout
    assert all(word in text for word in ("flowers/r1", "flowers/r2", "0.1000", "0.2000", "222222222222"))
    assert "2001-09-09T01:46:40+00:00" in text


def test_show_as_json_holds_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions, metrics, lineage and moves."""
    monkeypatch.setattr(Registry, "show_model", lambda _self, _name: MODEL)
    content = json.loads(graft("show", "flowers", "-o", "json").stdout)
    assert content["aliases"] == {"champion": 2}
    assert [version["metrics"]["accuracy"] for version in content["versions"]] == [0.2, 0.1]
    assert content["versions"][0]["digest"] == "2" * 64
    assert content["moves"][0]["version"] == 2


def test_rollback_says_both_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The alias defaults to champion."""
    change = AliasChange(name="flowers", alias="champion", before=2, after=1)
    monkeypatch.setattr(Registry, "rollback", lambda _self, _name, alias: change if alias == "champion" else None)
    assert graft("rollback", "flowers").stdout == "flowers@champion now points to version 1 (before: version 2)\n"


def test_alias_that_pointed_there_already(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is claimed to have moved."""
    change = AliasChange(name="flowers", alias="champion", before=2, after=2)
    monkeypatch.setattr(Registry, "set_alias", lambda _self, _name, _alias, _version: change)
    assert "already" in graft("alias", "flowers", "champion", "2").stdout


def test_a_version_is_removed_once_it_is_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never an alias, never without a word; `--yes` is the word."""
    removed: list[tuple[str, int]] = []
    monkeypatch.setattr(Registry, "remove", lambda _self, name, version: removed.append((name, version)))
    monkeypatch.setattr(Registry, "check_removable", lambda _self, _name, _version: None)
    assert graft("remove", "flowers@champion", "--yes").exit_code == 2
    alone = graft("remove", "flowers/1")
    assert alone.exit_code == 2
    assert "add --yes" in alone.stderr
    assert removed == []
    assert graft("remove", "flowers/1", "--yes").stdout == "flowers/1 is deleted\n"
    assert removed == [("flowers", 1)]


def test_nobody_is_asked_what_cannot_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """An alias points to the newest version."""
    monkeypatch.setattr(Registry, "show_model", lambda _self, _name, **_: MODEL)
    refused = graft("remove", "flowers/2")
    assert "Move the alias first" in refused.stderr
    assert "for good?" not in refused.stderr


def test_a_version_that_is_served_here_is_not_removed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its endpoint may need the bundle again."""
    monkeypatch.setattr(Registry, "remove", lambda *_: pytest.fail("was removed"))
    mine = EndpointState(
        name="garden",
        url="",
        pid=os.getpid(),
        process_started_at=process_started_at(os.getpid()),
        spec_file="",
        models=["flowers 1"],
    )
    write_state(home / "endpoints", mine)
    result = graft("remove", "flowers/1", "--yes")
    assert result.exit_code == 2
    assert "graft endpoints stop garden" in result.stderr


def test_unknown_model_is_the_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2 and the sentence on stderr, also with JSON output."""

    def refuse(_self: Registry, name: str) -> RegisteredModel:
        raise SpecError(Problem(where=name, received="x", expected="y", fix="Did you mean `flowers`?"))

    monkeypatch.setattr(Registry, "show_model", refuse)
    result = graft("show", "flower", "-o", "json")
    assert result.exit_code == 2
    assert "Did you mean `flowers`?" in result.stderr
    assert json.loads(result.stdout)["error"]["problems"][0]["where"] == "flower"


def test_export_of_a_path(tmp_path: Path) -> None:
    """A missing bundle is told, and nothing is made."""
    result = graft("export", str(tmp_path / "nothing"), str(tmp_path / "out"))
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_a_version_for_texts_is_shown_by_its_tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Texts have no height and width."""
    bundle = make_small_bundle(tmp_path / "bundle")
    texts = TextSignature(tokenizer="tokenizer.json", pad_id=0, max_tokens=128)
    bundle = replace(bundle, manifest=bundle.manifest.model_copy(update={"input": texts}))
    found = ResolvedModel(name="films", version=1, alias=None, bundle=bundle)
    monkeypatch.setattr(Registry, "resolve", lambda _self, _name: found)
    assert "texts, up to 128 tokens" in graft("show", "films/1").stdout
