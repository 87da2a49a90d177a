"""What a batch is made of: pictures of a folder, rows of a table."""

from __future__ import annotations

import datetime as dt
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from graftwork.data_files.fetch import FetchError
from graftwork.errors import SpecError
from graftwork.preprocess.text import TextError, decode_text
from graftwork_serving.batch.examples import Examples, list_examples


def _list(data: str, tmp_path: Path, *, takes_text: bool = False, column: str | None = None) -> Examples:
    return list_examples(data, takes_text=takes_text, column=column, base_dir=tmp_path, cache_dir=tmp_path / "cache")


def test_all_pictures_of_a_folder(tmp_path: Path) -> None:
    """At any depth, by path; other files are left out and named, hidden ones are left out."""
    for name in ("b/2.JPG", "a.png", "b/c/1.webp", "notes.txt", ".hidden.png"):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    found = _list("photos", tmp_path)
    assert found.columns == ("file",)
    assert [row.cells for row in found.rows] == [("a.png",), ("b/2.JPG",), ("b/c/1.webp",)]
    assert [row.read() for row in found.rows] == [b"a.png", b"b/2.JPG", b"b/c/1.webp"]
    assert found.ignored == ("notes.txt",)


def test_one_picture(tmp_path: Path) -> None:
    """A file is a folder of one."""
    (tmp_path / "a.png").write_bytes(b"it")
    (row,) = _list("a.png", tmp_path).rows
    assert (row.place, row.cells, row.read()) == ("a.png", ("a.png",), b"it")


def test_pictures_of_an_archive(tmp_path: Path) -> None:
    """All of them, or one; an archive written anew is read anew."""
    archive = tmp_path / "a.zip"
    for content in (b"old", b"newer"):
        with zipfile.ZipFile(archive, "w") as pictures:
            pictures.writestr("d/a.png", content)
            pictures.writestr("d/b/c.jpg", content)
        folder = _list(f"zip://d::{archive}", tmp_path)
        assert [(row.cells, row.read()) for row in folder.rows] == [(("a.png",), content), (("b/c.jpg",), content)]
        (row,) = _list(f"zip://d/a.png::{archive}", tmp_path).rows
        assert (row.cells, row.read()) == (("a.png",), content)
    gone = _list(f"zip://d/x.png::{archive}", tmp_path).rows[0]
    with pytest.raises(FetchError, match="nothing is there"):
        gone.read()


def test_pictures_of_a_table_lie_beside_it(tmp_path: Path) -> None:
    """Every column is kept; a path that leads nowhere or is missing is told when it is read."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").write_bytes(b"it")
    (tmp_path / "data" / "t.csv").write_text("id,path\n7,a.png\n8,gone.png\n9,\n")
    found = _list("data/t.csv", tmp_path)
    assert found.columns == ("id", "path")
    there, gone, empty = found.rows
    assert [row.place for row in found.rows] == ["line 2", "line 3", "line 4"]
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


def test_odd_paths_are_told_when_they_are_read(tmp_path: Path) -> None:
    """They end nothing."""
    (tmp_path / "t.jsonl").write_text('{"path": "a\\u0000b.png"}\n{"path": "~nobody-of-this-name/a.png"}\n')
    for row in _list("t.jsonl", tmp_path).rows:
        with pytest.raises(FetchError):
            row.read()


def test_columns_of_parquet_are_text_and_bytes_are_left_out(tmp_path: Path) -> None:
    """Numbers, dates, lists and nested values as others can read them."""
    columns: dict[str, list[Any]] = {
        "text": ["fine"],
        "stars": [4],
        "when": [dt.date(2026, 1, 2)],
        "tags": [["a", "b"]],
        "more": [{"k": [1, None]}],
        "raw": [b"\x00"],
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    found = _list("t.parquet", tmp_path, takes_text=True)
    assert found.columns == ("text", "stars", "when", "tags", "more")
    assert found.rows[0].cells == ("fine", "4", "2026-01-02", "a|b", '{"k": [1, null]}')
    assert (found.rows[0].place, found.rows[0].read()) == ("row 1", b"fine")


def test_halves_of_characters_are_left_to_the_decoder(tmp_path: Path) -> None:
    """JSON can hold them, UTF-8 cannot."""
    (tmp_path / "t.jsonl").write_text('{"text": "\\ud83d"}\n')
    (row,) = _list("t.jsonl", tmp_path, takes_text=True).rows
    with pytest.raises(TextError, match="not UTF-8"):
        decode_text(row.read())


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
        ("semi.csv", True, None, "its columns are separated by semicolons"),
        ("twice.csv", True, None, "several columns are called 'n'. Rename"),
        ("bad.csv", True, None, "no readable csv file .*a quote is opened and never closed"),
    ],
)
def test_what_the_model_does_not_take_is_refused(
    tmp_path: Path, data: str, takes_text: bool, column: str | None, message: str
) -> None:
    """With what was expected, before anything is computed."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "t.csv").write_text("id,texts\n1,a\n")
    (tmp_path / "semi.csv").write_text("id;text\n1;a\n")
    (tmp_path / "twice.csv").write_text("text,n,n,,\na,1,2,,\n")
    (tmp_path / "bad.csv").write_text('text\n"a\n')
    with pytest.raises(SpecError, match=message):
        _list(data, tmp_path, takes_text=takes_text, column=column)
