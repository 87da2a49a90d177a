"""Reads columns of a table of examples: CSV, JSON Lines or Parquet.

Every value comes back as text, without spaces around: a list of texts as the labels of one cell, other nested values as
JSON. What columns mean is up to the caller.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.data_files.kinds import LABEL_SEPARATOR, TableKind

if TYPE_CHECKING:
    import pyarrow as pa

# No column can be called so: a header has no line break at its end.
_SURPLUS = "\n"
_OTHER_SEPARATORS = {"semicolons": ";", "tabs": "\t", "bars": "|"}
_SHORT = 60


class TableError(ValueError):
    """The file is no table of that kind. The text says what was wrong and in which line."""


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One row.

    Attributes:
        number: line in the file (CSV, JSON Lines) or 1-based row (Parquet).
        values: of the wanted columns, in their order; empty where missing.
    """

    number: int
    values: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """What was read.

    Attributes:
        columns: all there are.
        rows: of the wanted columns; empty if one of these does not exist.
    """

    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]


def read_table(file: Path, kind: TableKind, wanted: Sequence[str] | None) -> Table:
    """Read columns of a table.

    Args:
        file: a local file.
        kind: how it is stored.
        wanted: names of the columns to read; None for all but those of bytes, such as pictures in Parquet.

    Raises:
        TableError: the file cannot be read as such a table.
    """
    match kind:
        case "csv":
            return _read_csv(file, wanted)
        case "jsonl":
            return _read_jsonl(file, wanted)
        case "parquet":
            return _read_parquet(file, wanted)


def _check_names(columns: Sequence[str], wanted: Sequence[str]) -> None:
    """Of two columns of one name it is not clear which is meant."""
    twice = [name for name, count in Counter(columns).items() if count > 1 and name in wanted]
    if twice:
        raise TableError(f"several columns are called {' and '.join(map(repr, twice))}. Rename or remove all but one")


def row_word(kind: TableKind) -> str:
    """What `TableRow.number` counts."""
    return "row" if kind == "parquet" else "line"


def _read_csv(file: Path, wanted: Sequence[str] | None) -> Table:
    # The module's own limit of 128 KiB a field is below the length of long documents.
    csv.field_size_limit(sys.maxsize)
    # utf-8-sig: spreadsheets put a byte-order mark in front.
    with file.open(encoding="utf-8-sig", newline="") as stream:
        # Strict: otherwise a quote that is never closed makes one cell of the rest of the file.
        reader = csv.DictReader(stream, restkey=_SURPLUS, strict=True)
        read = 0
        try:
            columns = tuple(column.strip() for column in reader.fieldnames or [])
            reader.fieldnames = columns
            read = reader.line_num
            if wanted is None or not set(wanted) <= set(columns):
                _check_separator(columns)
            if wanted is None:
                # Spreadsheets and indexes leave columns without a name.
                wanted = columns = tuple(name for name in columns if name)
            if not set(wanted) <= set(columns):
                return Table(columns=columns, rows=())
            _check_names(columns, wanted)
            rows = []
            for row in _as_wide_as_the_header(reader, len(reader.fieldnames)):
                read = reader.line_num
                rows.append(TableRow(number=read, values=tuple(_text(row.get(name)) for name in wanted)))
        except csv.Error as error:
            raise TableError(_broken_quotes(error, first=read + 1, last=reader.reader.line_num)) from error
        except UnicodeDecodeError as error:
            raise TableError(_not_utf8(file)) from error
    return Table(columns=columns, rows=tuple(rows))


def _broken_quotes(error: csv.Error, *, first: int, last: int) -> str:
    """What Python's reader refuses, apart from rows that are too wide, are quotes that open or close where none may."""
    if "unexpected end of data" in str(error):
        return f"line {first}: a quote is opened and never closed. Close it, or write a quote inside a value twice"
    return f"line {last}: {error}. Write a quote inside a quoted value twice"


def _check_separator(columns: Sequence[str]) -> None:
    """A header without commas is one cell."""
    if not columns:
        raise TableError("it is empty. Its first line names the columns")
    for name, separator in _OTHER_SEPARATORS.items():
        if len(columns) == 1 and separator in columns[0]:
            raise TableError(f"its columns are separated by {name}: {columns[0][:_SHORT]!r}. Save it with commas")


def _as_wide_as_the_header(reader: csv.DictReader[str], width: int) -> Iterator[dict[str, Any]]:
    """Rows; in one with too many cells, some hold what belongs to another column."""
    for row in reader:
        surplus = row.pop(_SURPLUS, ())
        if any(cell.strip() for cell in surplus):
            raise TableError(
                f"line {reader.line_num}: {width + len(surplus)} cells, the header has {width}. "
                "Quote values that hold commas"
            )
        yield row


def _read_jsonl(file: Path, wanted: Sequence[str] | None) -> Table:
    columns: dict[str, None] = {}
    entries: list[tuple[int, dict[str, str]]] = []
    try:
        for number, entry in _json_lines(file):
            columns.update(dict.fromkeys(entry))
            kept = {name: _text(entry.get(name)) for name in (entry if wanted is None else wanted)}
            entries.append((number, kept))
    except UnicodeDecodeError as error:
        raise TableError(_not_utf8(file)) from error
    if wanted is None:
        wanted = tuple(columns)
    rows = (TableRow(number=number, values=tuple(kept.get(name, "") for name in wanted)) for number, kept in entries)
    return Table(columns=tuple(columns), rows=tuple(rows) if set(wanted) <= set(columns) else ())


def _json_lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with file.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
            except json.JSONDecodeError as error:
                raise TableError(f"line {number}, column {error.colno}: {error.msg}") from error
            except (ValueError, RecursionError) as error:
                raise TableError(f"line {number}: {error}") from error
            if not isinstance(entry, dict):
                raise TableError(f"line {number}: no JSON object")
            yield number, entry


def _read_parquet(file: Path, wanted: Sequence[str] | None) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(file)
        columns = tuple(schema.names)
        if wanted is None:
            wanted = columns = tuple(field.name for field in schema if not _is_binary(field.type))
        if not set(wanted) <= set(columns):
            return Table(columns=columns, rows=())
        _check_names(columns, wanted)
        table = pq.read_table(file, columns=list(dict.fromkeys(wanted)))
        values = [table.column(name).to_pylist() for name in wanted]
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise TableError(str(error)) from error
    rows = zip(*values, strict=True)
    return Table(
        columns=columns,
        rows=tuple(TableRow(number=number, values=tuple(map(_text, row))) for number, row in enumerate(rows, start=1)),
    )


def _is_binary(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return any(is_kind(kind) for is_kind in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view))


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list() if all(isinstance(each, str) for each in value):
            return LABEL_SEPARATOR.join(value)
        case list() | dict():
            return json.dumps(value, ensure_ascii=False, default=str)
        case _:
            return str(value).strip()


def _not_utf8(file: Path) -> str:
    """Where a file stops being UTF-8: readers work in blocks, so their own position says little."""
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return f"line {number} is not UTF-8: byte {error.object[error.start]:#04x}, {error.reason}"
    return "it is not UTF-8"
