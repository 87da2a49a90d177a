"""The feature store: whole entries or none, within its limit."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from graftwork_jobs.features.store import DamagedEntryError, FeatureStore, NoRoomError, feature_key

SHAPE = (10, 4)
# A header of 128 bytes, float32 values, a mark and a digest.
ENTRY_BYTES = 128 + 10 * 4 * 4 + 8 + 32
LONG_AGO_S = 1_600_000_000


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """Room for two entries."""
    return FeatureStore(root=tmp_path / "features", limit_bytes=2 * ENTRY_BYTES)


def _build(store: FeatureStore, key: str, value: float, *, owner: str = "run", used_at: float | None = None) -> None:
    store.begin(key, owner, SHAPE)
    _fill(store, key, value, owner=owner)
    store.commit(key, owner)
    if used_at is not None:
        os.utime(store.root / f"{key}.npy", (used_at, used_at))


def _fill(store: FeatureStore, key: str, value: float, *, owner: str) -> None:
    target = np.load(store.unfinished(key, owner), mmap_mode="r+")
    target[:] = value
    target.flush()


def _opened(store: FeatureStore, key: str) -> NDArray[np.float32]:
    features = store.open(key)
    assert features is not None
    return features


def test_an_entry_comes_back_read_only(store: FeatureStore) -> None:
    """What was written, as float32, mapped from disk, not to be changed."""
    _build(store, "a", 1.5)
    features = _opened(store, "a")
    np.testing.assert_array_equal(features, np.full(SHAPE, 1.5, np.float32))
    assert isinstance(features, np.memmap)
    assert features.dtype == np.float32
    assert not features.flags.writeable


def test_an_entry_appears_with_its_commit_only(store: FeatureStore) -> None:
    """Before, there is none; afterwards no unfinished file is left."""
    assert store.open("a") is None
    store.begin("a", "run", SHAPE)
    assert store.open("a") is None
    store.commit("a", "run")
    assert store.open("a") is not None
    assert [path.name for path in store.root.iterdir()] == ["a.npy"]


def test_the_least_recently_used_goes_first(store: FeatureStore) -> None:
    """Reading counts as use: the entry that was neither written nor read lately makes room."""
    _build(store, "read", 1, used_at=LONG_AGO_S)
    _build(store, "idle", 2, used_at=LONG_AGO_S + 1)
    _opened(store, "read")
    _build(store, "new", 3)
    assert {path.stem for path in store.root.iterdir()} == {"read", "new"}


def test_the_newest_stays_even_beyond_the_limit(tmp_path: Path) -> None:
    """A run's own entry is not deleted by its own commit; everything else is."""
    store = FeatureStore(root=tmp_path, limit_bytes=ENTRY_BYTES // 2)
    _build(store, "old", 1, used_at=LONG_AGO_S)
    _build(store, "new", 2)
    assert {path.stem for path in tmp_path.iterdir()} == {"new"}


def test_an_evicted_entry_can_be_read_on(store: FeatureStore) -> None:
    """A process that has it mapped keeps its values."""
    _build(store, "mapped", 7, used_at=LONG_AGO_S)
    features = _opened(store, "mapped")
    os.utime(store.root / "mapped.npy", (LONG_AGO_S, LONG_AGO_S))
    for key in ("b", "c"):
        _build(store, key, 0)
    assert store.open("mapped") is None
    np.testing.assert_array_equal(features, np.full(SHAPE, 7, np.float32))


def test_eviction_between_opening_and_marking_as_used_does_no_harm(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry is mapped by then."""
    _build(store, "a", 3)
    real = np.load

    def load_then_evict(path: Path, **options: Any) -> NDArray[np.float32]:
        features: NDArray[np.float32] = real(path, **options)
        path.unlink()
        return features

    monkeypatch.setattr(np, "load", load_then_evict)
    np.testing.assert_array_equal(_opened(store, "a"), np.full(SHAPE, 3, np.float32))


def test_abandoned_unfinished_files_are_removed(store: FeatureStore) -> None:
    """One that nobody touched for a day goes; one that was touched an hour ago stays."""
    for owner, hours in (("dead", 24), ("alive", 1)):
        store.begin("a", owner, SHAPE)
        touched = time.time() - hours * 3600
        os.utime(store.unfinished("a", owner), (touched, touched))
    store.make_room()
    assert [path.name for path in store.root.iterdir()] == [store.unfinished("a", "alive").name]


def test_a_killed_writer_leaves_no_entry(store: FeatureStore) -> None:
    """`kill -9` half-way: nothing under the entry's name, and the next attempt of the same run builds it."""
    store.begin("a", "run", SHAPE)
    script = (
        "import sys, time, numpy as np\n"
        "target = np.load(sys.argv[1], mmap_mode='r+'); target[:5] = 9; target.flush()\n"
        "print('half', flush=True); time.sleep(600)\n"
    )
    command = [sys.executable, "-c", script, str(store.unfinished("a", "run"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "half\n"
        writer.kill()
    assert writer.returncode == -signal.SIGKILL
    assert store.open("a") is None
    _build(store, "a", 2)
    np.testing.assert_array_equal(_opened(store, "a"), np.full(SHAPE, 2, np.float32))


def test_a_writer_of_an_earlier_attempt_cannot_reach_the_new_file(store: FeatureStore) -> None:
    """It may still have its own mapped, and write to it."""
    store.begin("a", "run", SHAPE)
    stale = np.load(store.unfinished("a", "run"), mmap_mode="r+")
    store.begin("a", "run", SHAPE)
    stale[:] = 9
    stale.flush()
    store.commit("a", "run")
    np.testing.assert_array_equal(_opened(store, "a"), np.zeros(SHAPE, np.float32))


def test_a_full_disk_is_noticed_before_anything_is_computed(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names size and file, and nothing is left to fill the disk further."""

    def no_room(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", no_room)
    with pytest.raises(NoRoomError, match=f"no room for {ENTRY_BYTES} bytes of features") as caught:
        store.begin("a", "run", SHAPE)
    assert str(store.root) in str(caught.value)
    assert list(store.root.iterdir()) == []


def test_a_disk_that_fills_up_before_the_commit_is_told(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same error, and no entry."""

    def no_room(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store.begin("a", "run", SHAPE)
    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(NoRoomError, match="no room for"):
        store.commit("a", "run")
    assert store.open("a") is None


def test_other_troubles_with_the_disk_are_no_matter_of_room(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may pass, so they stay what they are: another attempt is worth while."""

    def broken(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "posix_fallocate", broken)
    with pytest.raises(OSError, match="Input/output error"):
        store.begin("a", "run", SHAPE)


def _flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("position", [0, 20, 128, 200, ENTRY_BYTES - 41, ENTRY_BYTES - 35, ENTRY_BYTES - 1])
def test_one_changed_bit_is_found_anywhere(store: FeatureStore, position: int) -> None:
    """In the header, the array, the mark or the digest: the entry is deleted and never used."""
    _build(store, "a", 1.5)
    _flip(store.root / "a.npy", position)
    with pytest.raises(DamagedEntryError):
        store.open("a")
    assert store.open("a") is None


@pytest.mark.parametrize("left", [0, 7, 128, 200, ENTRY_BYTES - 40, ENTRY_BYTES - 1])
@pytest.mark.parametrize("verify", [True, False])
def test_a_truncated_entry_is_found(store: FeatureStore, left: int, *, verify: bool) -> None:
    """Also by workers that leave the reading to another, as far as values are missing."""
    _build(store, "a", 1.5)
    os.truncate(store.root / "a.npy", left)
    if verify or left < ENTRY_BYTES - 40:
        with pytest.raises(DamagedEntryError):
            store.open("a", verify=verify)
        assert store.open("a") is None
    else:
        np.testing.assert_array_equal(store.open("a", verify=False), np.full(SHAPE, 1.5, np.float32))


def test_room_is_really_reserved(store: FeatureStore) -> None:
    """The unfinished file has its blocks from the beginning; it is not sparse."""
    rows = 4096
    store.begin("a", "run", (rows, 64))
    assert store.unfinished("a", "run").stat().st_blocks * 512 >= rows * 64 * 4


@pytest.mark.parametrize("first", ["one", "other"])
def test_two_runs_building_the_same_entry_do_not_harm_each_other(store: FeatureStore, first: str) -> None:
    """Whoever commits first, the entry is whole at any time, and the other's commit works too."""
    second = {"one": "other", "other": "one"}[first]
    for owner in ("one", "other"):
        store.begin("a", owner, SHAPE)
    _fill(store, "a", 5, owner=first)
    store.commit("a", first)
    mapped = _opened(store, "a")
    _fill(store, "a", 5, owner=second)
    store.commit("a", second)
    np.testing.assert_array_equal(mapped, np.full(SHAPE, 5, np.float32))
    np.testing.assert_array_equal(_opened(store, "a"), mapped)
    assert [path.name for path in store.root.iterdir()] == ["a.npy"]


def test_discarding_removes_the_own_unfinished_file_only(store: FeatureStore) -> None:
    """Another run's stays; doing it twice is no error."""
    for owner in ("one", "other"):
        store.begin("a", owner, SHAPE)
    store.discard("a", "one")
    store.discard("a", "one")
    assert [path.name for path in store.root.iterdir()] == [store.unfinished("a", "other").name]


def test_the_limit_is_a_quarter_of_held_and_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the store already holds counts as room of its own."""
    _build(FeatureStore(root=tmp_path, limit_bytes=10 * ENTRY_BYTES), "a", 1)
    usage = type("Usage", (), {"free": 1_000_000})()
    monkeypatch.setattr("graftwork_jobs.features.store.shutil.disk_usage", lambda _: usage)
    assert FeatureStore.below(tmp_path).limit_bytes == (1_000_000 + ENTRY_BYTES) // 4


_FACTS = {"version": 1, "trunk": "ab", "image": {"height": 8, "width": 9}, "pictures": "cd"}
_CHANGES: list[Callable[[dict[str, object]], dict[str, object]]] = [
    lambda facts: {**facts, "version": 2},
    lambda facts: {**facts, "trunk": "ac"},
    lambda facts: {**facts, "image": {"height": 9, "width": 8}},
    lambda facts: {**facts, "pictures": "ce"},
    lambda facts: {name: value for name, value in facts.items() if name != "version"},
]


@pytest.mark.parametrize("change", _CHANGES)
def test_every_fact_changes_the_key(change: Callable[[dict[str, object]], dict[str, object]]) -> None:
    """No two different contents share an entry."""
    assert feature_key(change(_FACTS)) != feature_key(_FACTS)


def test_the_order_of_facts_does_not_change_the_key() -> None:
    """Only their values do."""
    assert feature_key(dict(reversed(_FACTS.items()))) == feature_key(_FACTS)
