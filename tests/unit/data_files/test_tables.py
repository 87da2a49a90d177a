"""Tables that are not quite tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from graftwork.data_files.kinds import table_kind
from graftwork.data_files.tables import TableError, read_table


def _read(tmp_path: Path, text: str) -> list[tuple[str, ...]]:
    file = tmp_path / "table.csv"
    file.write_text(text)
    return [row.values for row in read_table(file, "csv", ["text", "label"]).rows]


def test_a_row_wider_than_the_header_is_refused(tmp_path: Path) -> None:
    """Its values would go to the wrong columns: a text with a comma in it would lose its label."""
    with pytest.raises(TableError, match=r"line 3: 3 cells, the header has 2\. Quote values"):
        _read(tmp_path, "text,label\nfine,positive\nwell, no,negative\n")
    assert _read(tmp_path, 'text,label\n"well, no",negative\n') == [("well, no", "negative")]


def test_commas_at_the_end_of_rows_shift_nothing(tmp_path: Path) -> None:
    """Spreadsheets write them."""
    assert _read(tmp_path, "text,label\nfine,positive,,\n") == [("fine", "positive")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("text;label\nfine;positive\n", "separated by semicolons: 'text;label'. Save it with commas"),
        ("text\tlabel\nfine\tpositive\n", "separated by tabs"),
        ("", "it is empty"),
        ('text,label\nfine,good\n"well,bad\nyes,good\n', "line 3: a quote is opened and never closed"),
        ('text,label\nfine,good\n"so "nice"",good\n', "line 3: .* Write a quote inside a quoted value twice"),
    ],
)
def test_other_separators_and_broken_quotes_are_recognised(tmp_path: Path, text: str, said: str) -> None:
    """Rather than missing the columns, or taking the rest of the file for one cell."""
    with pytest.raises(TableError, match=said):
        _read(tmp_path, text)


def test_nested_values_are_labels_or_json(tmp_path: Path) -> None:
    """A list of labels is what a cell of labels is in CSV."""
    file = tmp_path / "t.jsonl"
    file.write_text('{"text": "x", "label": ["a", "b"]}\n{"text": {"k": [1, true]}, "label": []}\n')
    rows = read_table(file, "jsonl", ["text", "label"]).rows
    assert [row.values for row in rows] == [("x", "a|b"), ('{"k": [1, true]}', "")]


def test_a_broken_line_of_json_is_named_once(tmp_path: Path) -> None:
    """By its place in the file, not by that in itself."""
    file = tmp_path / "t.jsonl"
    file.write_text('{"text": "x", "label": "a"}\n\n{"text": "x" "label": "a"}\n')
    with pytest.raises(TableError, match=r"^line 3, column 14: Expecting ',' delimiter$"):
        read_table(file, "jsonl", ["text", "label"])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("data/t.CSV", "csv"),
        ("https://host/t.parquet?X-Signature=a/b.c", "parquet"),
        ("zip://t.jsonl::https://host/a.zip", "jsonl"),
        ("what?.csv", "csv"),
        ("t.tsv", None),
        ("https://host/photos?list=t.csv", None),
    ],
)
def test_the_end_of_the_name_says_what_a_table_is(name: str, kind: str | None) -> None:
    """Of the path alone, where a URI goes on behind it."""
    assert table_kind(name) == kind


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    """The last one counted, without a word; others may be there as often as they like, and names may be missing."""
    with pytest.raises(TableError, match="several columns are called 'label'"):
        _read(tmp_path, "text,label,label\na,b,c\n")
    assert _read(tmp_path, "text,n,label,n,,\na,1,b,2,,\n") == [("a", "b")]
    file = tmp_path / "index.csv"
    file.write_text(",text,,\n0,a,,\n")
    table = read_table(file, "csv", None)
    assert (table.columns, table.rows[0].values) == (("text",), ("a",))
