from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from graftwork.api_keys import find_key, is_expired, read_key_file, utc_now
from graftwork.cli.main import cli


def graft(*arguments: str) -> Result:
    """Run `graft keys ...`."""
    return CliRunner().invoke(cli, ["keys", *arguments])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


def test_create_prints_the_key_and_keeps_its_hash(file: Path) -> None:
    """The key alone on stdout, for a pipe; its entry says what it may do."""
    options = ("--models", "a, b", "--expires", "2h", "--rate", "5", "--burst", "9")
    result = graft("create", "ann", "--file", str(file), *options)
    assert result.exit_code == 0, result.output
    (entry,) = read_key_file(file).keys
    assert find_key(result.stdout.strip(), {entry.id: entry}) is entry
    assert (entry.models, entry.requests_per_second, entry.burst) == (["a", "b"], 5.0, 9)
    assert not is_expired(entry, utc_now() + timedelta(minutes=119))
    assert is_expired(entry, utc_now() + timedelta(minutes=121))


def test_a_key_is_rotated_by_a_second_one(file: Path) -> None:
    """Both work until the old one is revoked by its id; its name alone would not say which."""
    for _ in range(2):
        assert graft("create", "ann", "--file", str(file)).exit_code == 0
    listed = json.loads(graft("list", "--file", str(file), "-o", "json").stdout)
    assert [each["name"] for each in listed] == ["ann", "ann"]
    assert not any("sha256" in each for each in listed)
    unclear = graft("revoke", "ann", "--file", str(file))
    assert (unclear.exit_code, listed[0]["id"] in unclear.stderr) == (2, True)
    assert graft("revoke", listed[0]["id"], "--file", str(file)).exit_code == 0
    assert graft("revoke", "ann", "--file", str(file)).exit_code == 0
    assert read_key_file(file).keys == []


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("create", "Ann Lee"), "lower-case"),
        (("create", "ann", "--models", ","), "--models"),
        (("create", "ann", "--burst", "2"), "--rate"),
        (("create", "ann", "--rate", "0"), "rate"),
        (("create", "ann", "--expires", "soon"), "90d"),
        (("create", "ann", "--expires", "2020-01-01"), "past"),
        (("revoke", "ann"), "graft keys create"),
        (("list",), "graft keys create"),
    ],
)
def test_wrong_input_is_explained(file: Path, arguments: tuple[str, ...], names: str) -> None:
    """Nothing is written."""
    result = graft(*arguments, "--file", str(file))
    assert (result.exit_code, names in result.stderr) == (2, True), result.stderr
    assert not file.exists()
