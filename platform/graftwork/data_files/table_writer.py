"""Writes a table row by row, of any length: CSV, JSON Lines or Parquet, by the end of its name."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from graftwork.data_files.kinds import LABEL_SEPARATOR, table_kind
from graftwork.whole_file import replacing

if TYPE_CHECKING:
    import pyarrow as pa

ColumnKind = Literal["text", "number", "labels"]
"""What a column holds."""
Cell: TypeAlias = "str | float | list[str] | None"
"""What stands in a column of a row; None for nothing."""
AddRow = Callable[[Sequence[Cell]], None]

_ROWS_AT_A_TIME = 4096
# What stands for characters that UTF-8 does not have: names of files in another encoding, halves of surrogate pairs.
_UNPRINTABLE = "backslashreplace"


@contextmanager
def writing_table(file: Path, columns: Mapping[str, ColumnKind]) -> Iterator[AddRow]:
    """A table that is there at the end of the block, whole; after an error there is none, or what was there before.

    Args:
        file: ends in .csv, .jsonl or .parquet.
        columns: what each holds, by name.

    Yields:
        What adds a row: a cell for each column, in their order.

    Raises:
        ValueError: the name ends otherwise.
    """
    kind = table_kind(file.name)
    if kind is None:
        raise ValueError(f"received the name {file.name}, expected one that ends in .csv, .jsonl or .parquet")
    with replacing(file) as temporary, _WRITERS[kind](temporary, columns) as add:
        yield add


@contextmanager
def _writing_csv(file: Path, columns: Mapping[str, ColumnKind]) -> Iterator[AddRow]:
    with file.open("w", encoding="utf-8", errors=_UNPRINTABLE, newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        # The writer does not quote a lone carriage return, which readers take for the end of a row.
        quoting = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)

        def add(row: Sequence[Cell]) -> None:
            cells = [LABEL_SEPARATOR.join(cell) if isinstance(cell, list) else cell for cell in row]
            returns = any(isinstance(cell, str) and "\r" in cell for cell in cells)
            (quoting if returns else writer).writerow(cells)

        add([*columns])
        yield add


@contextmanager
def _writing_jsonl(file: Path, columns: Mapping[str, ColumnKind]) -> Iterator[AddRow]:
    with file.open("w", encoding="utf-8", errors=_UNPRINTABLE) as stream:
        yield lambda row: print(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False), file=stream)


@contextmanager
def _writing_parquet(file: Path, columns: Mapping[str, ColumnKind]) -> Iterator[AddRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(_printable(name), _arrow_type(kind)) for name, kind in columns.items()])
    rows: list[Sequence[Cell]] = []
    with pq.ParquetWriter(file, schema) as writer:

        def write() -> None:
            if rows:
                writer.write_batch(pa.record_batch([*map(list, zip(*rows, strict=True))], schema=schema))
                rows.clear()

        def add(row: Sequence[Cell]) -> None:
            rows.append([_printable(cell) for cell in row])
            if len(rows) == _ROWS_AT_A_TIME:
                write()

        yield add
        write()


def _printable(cell: Any) -> Any:
    """A cell, or name of a column, as UTF-8 can say it."""
    if not isinstance(cell, str) or cell.isascii():
        return cell
    return cell.encode("utf-8", _UNPRINTABLE).decode("utf-8")


def _arrow_type(kind: ColumnKind) -> pa.DataType:
    import pyarrow as pa

    match kind:
        case "text":
            return pa.string()
        case "number":
            return pa.float64()
        case "labels":
            return pa.list_(pa.string())


_WRITERS: dict[str, Callable[[Path, Mapping[str, ColumnKind]], Any]] = {
    "csv": _writing_csv,
    "jsonl": _writing_jsonl,
    "parquet": _writing_parquet,
}
