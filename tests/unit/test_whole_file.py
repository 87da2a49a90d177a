"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from graftwork.whole_file import replacing, write_whole


def _write_half(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise ValueError("cut off")


def test_the_new_content_takes_the_old_ones_place(tmp_path: Path) -> None:
    """Folders on the way are made; nothing else is left beside the file."""
    file = tmp_path / "new" / "state.json"
    write_whole(file, "1")
    write_whole(file, "2é")
    assert file.read_text(encoding="utf-8") == "2é"
    assert list(file.parent.iterdir()) == [file]


def test_an_error_leaves_the_old_content(tmp_path: Path) -> None:
    """And no half of the new one beside it."""
    file = tmp_path / "state.json"
    write_whole(file, "old")
    with pytest.raises(ValueError, match="cut off"):
        _write_half(file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_reader_sees_the_old_content_until_the_end(tmp_path: Path) -> None:
    """The temporary file is another one, with the same suffix."""
    file = tmp_path / "weights.h5"
    write_whole(file, "old")
    with replacing(file) as temporary:
        temporary.write_text("new")
        assert file.read_text() == "old"
        assert temporary.suffix == ".h5"
    assert file.read_text() == "new"


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    """Rather than a file that silently stays old."""
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "file"):
        pass
