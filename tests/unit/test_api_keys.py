from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from graftwork.api_keys import KeyFile, find_key, new_key, read_key_file, write_key_file
from graftwork.errors import SpecError


def test_the_file_finds_the_key_and_does_not_hold_it(tmp_path: Path) -> None:
    """What was written is read again; the secret is nowhere in it."""
    key, entry = new_key("ann", models=["flowers"], requests_per_second=2.5)
    write_key_file(tmp_path / "keys.yaml", KeyFile(keys=[entry]))
    text = (tmp_path / "keys.yaml").read_text()
    assert key.split("_", 2)[2] not in text
    (read,) = read_key_file(tmp_path / "keys.yaml").keys
    assert read == entry
    assert read.sha256 == hashlib.sha256(key.encode()).hexdigest()
    assert find_key(key, {read.id: read}) is read


def test_nothing_but_the_whole_key_is_found() -> None:
    """Neither a part of it, nor another secret under its id, nor its hash."""
    key, entry = new_key("ann")
    other, _ = new_key("ben")
    keys = {entry.id: entry}
    swapped = "_".join(("graft", entry.id, other.split("_", 2)[2]))
    for wrong in ("", "graft", key[:-1], key + "x", other, swapped, entry.sha256, entry.id, key.upper()):
        assert find_key(wrong, keys) is None


def test_keys_are_long_enough_to_need_no_slow_hash() -> None:
    """256 random bits: all secrets differ, and each has 43 characters of base64."""
    secrets = {new_key("ann")[0].split("_", 2)[2] for _ in range(200)}
    assert len(secrets) == 200
    assert {len(secret) for secret in secrets} == {43}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("keys: [{id: x}]", "keys.0.id"),
        ("keys: 3", "keys"),
        ("kees: []", "kees"),
        ("a: [", "YAML"),
        ("- 1", "keys"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path: Path, text: str, names: str) -> None:
    """With the place and the way out."""
    file = tmp_path / "keys.yaml"
    file.write_text(text)
    with pytest.raises(SpecError, match=names):
        read_key_file(file)


def test_one_id_stands_for_one_key(tmp_path: Path) -> None:
    """Two entries of one id are refused, as a missing file is."""
    _, entry = new_key("ann")
    write_key_file(tmp_path / "keys.yaml", KeyFile.model_construct(keys=[entry, entry]))
    with pytest.raises(SpecError, match=entry.id):
        read_key_file(tmp_path / "keys.yaml")
    with pytest.raises(SpecError, match="graft keys create"):
        read_key_file(tmp_path / "nowhere.yaml")
