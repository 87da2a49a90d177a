"""Directories that appear whole or not at all."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest

from graftwork.bundle.files import DiskFullError, disk_full_errors, files_below, staged_directory
from graftwork.errors import SpecError


class Usage(NamedTuple):
    """What `shutil.disk_usage` gives."""

    total: int
    used: int
    free: int


def stage_and_fail(target: Path, error: Exception, *, replace: bool = False) -> NoReturn:
    """Write half of a directory, then fail."""
    with staged_directory(target, needed_bytes=1, replace=replace) as staged:
        (staged / "x").write_text("1")
        raise error


def test_directory_appears_when_the_block_ends(tmp_path: Path) -> None:
    """Nothing is at the destination before, everything after, nothing beside it."""
    target = tmp_path / "a" / "b"
    with staged_directory(target, needed_bytes=1) as staged:
        (staged / "x").write_text("1")
        assert not target.exists()
    assert files_below(tmp_path) == ["a/b/x"]


def test_failure_leaves_nothing(tmp_path: Path) -> None:
    """An error in the block passes through and nothing stays."""
    with pytest.raises(ZeroDivisionError):
        stage_and_fail(tmp_path / "b", ZeroDivisionError())
    assert list(tmp_path.iterdir()) == []


def test_failure_keeps_what_was_there(tmp_path: Path) -> None:
    """Replacing happens only when the new content is complete."""
    target = tmp_path / "b"
    target.mkdir()
    (target / "old").write_text("1")
    with pytest.raises(ZeroDivisionError):
        stage_and_fail(target, ZeroDivisionError(), replace=True)
    assert files_below(tmp_path) == ["b/old"]


def test_replacing_leaves_only_the_new_content(tmp_path: Path) -> None:
    """The old directory is gone afterwards."""
    target = tmp_path / "b"
    target.mkdir()
    (target / "old").write_text("1")
    with staged_directory(target, needed_bytes=1, replace=True) as staged:
        (staged / "new").write_text("1")
    assert files_below(tmp_path) == ["b/new"]


def test_occupied_destination_is_refused_before_work(tmp_path: Path) -> None:
    """Without leave to replace, existing content is not touched."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "old").write_text("1")
    with pytest.raises(SpecError, match="a path that exists"), staged_directory(tmp_path / "b", needed_bytes=1):
        pytest.fail("the block must not run")


def test_too_little_space_is_found_before_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how much is needed and how much is free."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10_000, 8_766, 1_234))
    with (
        pytest.raises(DiskFullError, match=r"received 1,234 bytes of free space, expected about 5,000 bytes\. Free"),
        staged_directory(tmp_path / "b", needed_bytes=5_000),
    ):
        pytest.fail("the block must not run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_disk_that_fills_up_meanwhile(tmp_path: Path, number: int) -> None:
    """A full disk or quota while writing is told the same way, and nothing stays."""
    with pytest.raises(DiskFullError, match="about 1 bytes"):
        stage_and_fail(tmp_path / "b", OSError(number, "full"))
    assert list(tmp_path.iterdir()) == []


def test_library_error_on_a_full_disk_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries hide the cause; with no space left it is the disk."""
    answers = iter([Usage(10_000, 0, 10_000), Usage(10_000, 10_000, 0)])
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: next(answers))
    with pytest.raises(DiskFullError):
        stage_and_fail(tmp_path / "b", RuntimeError("cannot write"))


def test_copying_a_tree_to_a_full_disk(tmp_path: Path) -> None:
    """Tree copies collect errors as text; they are recognised."""
    full = shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")])
    with pytest.raises(DiskFullError), disk_full_errors(tmp_path / "x" / "y", 10):
        raise full


def test_other_errors_pass_through(tmp_path: Path) -> None:
    """Only a full disk is told as a full disk."""
    with pytest.raises(PermissionError), disk_full_errors(tmp_path, 10):
        raise PermissionError(errno.EACCES, "no")
