"""Tables are written row by row and are there whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from graftwork.data_files.table_writer import Cell, ColumnKind, writing_table
from graftwork.data_files.tables import read_table

_COLUMNS: dict[str, ColumnKind] = {"what": "text", "score": "number", "given": "labels", "error": "text"}
_ROWS: list[list[Cell]] = [
    ['a, "quoted"\nvalue', 0.25, ["cat", "dog"], None],
    ["umlaut \u00e4", 1e-7, [], None],
    ["returns\rcarriage", 0.5, ["a"], None],
    ["broken", None, None, "no picture"],
]


def _write(file: Path, rows: list[list[Cell]] = _ROWS) -> Path:
    with writing_table(file, _COLUMNS) as add:
        for row in rows:
            add(row)
    return file


def test_csv_reads_back(tmp_path: Path) -> None:
    """By the reader that jobs use; labels are separated as jobs read them."""
    table = read_table(_write(tmp_path / "t.csv"), "csv", [*_COLUMNS])
    assert [row.values for row in table.rows] == [
        ('a, "quoted"\nvalue', "0.25", "cat|dog", ""),
        ("umlaut \u00e4", "1e-07", "", ""),
        ("returns\rcarriage", "0.5", "a", ""),
        ("broken", "", "", "no picture"),
    ]


def test_json_lines_keep_kinds(tmp_path: Path) -> None:
    """Numbers stay numbers, labels lists, nothing null."""
    lines = _write(tmp_path / "t.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [dict(zip(_COLUMNS, row, strict=True)) for row in _ROWS]


@pytest.mark.parametrize("copies", [1, 4000])
def test_parquet_keeps_kinds(tmp_path: Path, copies: int) -> None:
    """However many rows there are."""
    table = pq.read_table(_write(tmp_path / "t.parquet", _ROWS * copies))
    assert [str(field.type) for field in table.schema] == ["string", "double", "list<element: string>", "string"]
    assert table.num_rows == 4 * copies
    assert [list(row.values()) for row in table.slice(4 * copies - 4).to_pylist()] == _ROWS


def test_parquet_without_rows_has_its_columns(tmp_path: Path) -> None:
    """A table of nothing can be read."""
    assert pq.read_table(_write(tmp_path / "t.parquet", [])).schema.names == [*_COLUMNS]


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_what_utf8_cannot_say_is_escaped(tmp_path: Path, name: str) -> None:
    """Names of files in another encoding, halves of surrogate pairs: the rest of the table is not lost for them."""
    file = _write(tmp_path / name, [["caf\udce9.png", 0.5, [], "half \ud83d"]])
    table = pq.read_table(file).to_pylist()[0] if name.endswith("parquet") else None
    text = json.dumps(table, ensure_ascii=False) if table else file.read_text(encoding="utf-8")
    assert "caf\\udce9.png" in text.replace("\\\\", "\\")


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_after_an_error_the_old_table_stands(tmp_path: Path, name: str) -> None:
    """And nothing lies beside it."""
    file = _write(tmp_path / name)
    before = file.read_bytes()

    def fail(add: Callable[[list[Cell]], None]) -> None:
        add(_ROWS[0])
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"), writing_table(file, _COLUMNS) as add:
        fail(add)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_other_names_are_refused(tmp_path: Path) -> None:
    """The end of the name says what is written."""
    with pytest.raises(ValueError, match=r"expected one that ends in \.csv, \.jsonl or \.parquet"):
        _write(tmp_path / "t.xlsx")
