"""What a batch is made of: pictures of a folder, rows of a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from graftwork.data_files.fetch import FetchError
from graftwork.errors import SpecError
from graftwork_serving.batch.examples import Examples, list_examples


def _list(data: str, tmp_path: Path, *, takes_text: bool = False, column: str | None = None) -> Examples:
    return list_examples(data, takes_text=takes_text, column=column, base_dir=tmp_path, cache_dir=tmp_path / "cache")


def test_all_pictures_of_a_folder(tmp_path: Path) -> None:
    """At any depth, by path; other files and hidden ones are left out."""
    for name in ("b/2.JPG", "a.png", "b/c/1.webp", "notes.txt", ".hidden.png"):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    found = _list("photos", tmp_path)
    assert found.columns == ("file",)
    assert [row.cells for row in found.rows] == [("a.png",), ("b/2.JPG",), ("b/c/1.webp",)]
    assert [row.read() for row in found.rows] == [b"a.png", b"b/2.JPG", b"b/c/1.webp"]


def test_one_picture(tmp_path: Path) -> None:
    """A file is a folder of one."""
    (tmp_path / "a.png").write_bytes(b"it")
    (row,) = _list("a.png", tmp_path).rows
    assert (row.cells, row.read()) == (("a.png",), b"it")


def test_pictures_of_a_table_lie_beside_it(tmp_path: Path) -> None:
    """Every column is kept; a path that leads nowhere or is missing is told when it is read."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").write_bytes(b"it")
    (tmp_path / "data" / "t.csv").write_text("id,path\n7,a.png\n8,gone.png\n9,\n")
    found = _list("data/t.csv", tmp_path)
    assert found.columns == ("id", "path")
    there, gone, empty = found.rows
    assert (there.cells, there.read()) == (("7", "a.png"), b"it")
    with pytest.raises(FetchError, match=r"gone\.png: nothing is there"):
        gone.read()
    with pytest.raises(FetchError, match="the path is empty"):
        empty.read()


@pytest.mark.parametrize(("name", "content"), [("t.csv", "body\ngr\u00fcn\n"), ("t.jsonl", '{"body": "gr\u00fcn"}\n')])
def test_texts_of_a_table(tmp_path: Path, name: str, content: str) -> None:
    """From the column that is named, in UTF-8."""
    (tmp_path / name).write_text(content, encoding="utf-8")
    (row,) = _list(name, tmp_path, takes_text=True, column="body").rows
    assert row.read().decode() == "gr\u00fcn"


@pytest.mark.parametrize(
    ("data", "takes_text", "column", "message"),
    [
        ("nowhere", False, None, "DATA: received nowhere, which does not exist"),
        ("nowhere.csv", True, None, "DATA: received nowhere.csv, which does not exist"),
        ("empty", False, None, "holds no picture"),
        ("empty", True, None, r"expected a table \(\.csv, \.jsonl, \.parquet\) with a column of texts"),
        ("empty", False, "path", "folders have no columns"),
        ("t.csv", True, None, "received column text, expected one of the table's columns: id, texts.*`texts`"),
        ("t.csv", False, None, "received column path"),
        ("bad.csv", True, None, "no readable csv file .*a quote is opened and never closed"),
    ],
)
def test_what_the_model_does_not_take_is_refused(
    tmp_path: Path, data: str, takes_text: bool, column: str | None, message: str
) -> None:
    """With what was expected, before anything is computed."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "t.csv").write_text("id,texts\n1,a\n")
    (tmp_path / "bad.csv").write_text('text\n"a\n')
    with pytest.raises(SpecError, match=message):
        _list(data, tmp_path, takes_text=takes_text, column=column)
