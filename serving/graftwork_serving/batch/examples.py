"""What is to be answered: the pictures of a folder, or the rows of a table. Lists only; no picture is opened here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.data_files.fetch import (
    FetchError,
    MissingFileError,
    absolute_uri,
    beside_table,
    is_remote,
    local_path,
    read_bytes,
)
from graftwork.data_files.folder_tree import below, folder_tree
from graftwork.data_files.kinds import is_picture, table_kind
from graftwork.data_files.tables import TableError, read_table
from graftwork.errors import Problem, SpecError
from graftwork.near_names import did_you_mean

if TYPE_CHECKING:
    from graftwork.data_files.kinds import TableKind

FILE_COLUMN = "file"
"""Names the pictures of a folder, by their paths below it."""
_WHERE = "DATA"


@dataclass(frozen=True, kw_only=True)
class BatchExample:
    """One of them.

    Attributes:
        cells: what is already known of it, in the order of the columns.
        size: what it costs, in no unit; examples of like size go well together.
        read: gives the raw input; raises `FetchError` if there is none.
    """

    cells: tuple[str, ...]
    size: int
    read: Callable[[], bytes]


@dataclass(frozen=True, kw_only=True)
class Examples:
    """All of them.

    Attributes:
        columns: names of what is known of each.
        rows: in the order of the table, or by path.
    """

    columns: tuple[str, ...]
    rows: tuple[BatchExample, ...]


def list_examples(data: str, *, takes_text: bool, column: str | None, base_dir: Path, cache_dir: Path) -> Examples:
    """List what a folder or table holds.

    Args:
        data: path or URI of a folder of pictures, of one picture, or of a table.
        takes_text: whether the model takes texts.
        column: of a table: the one with the texts, or with the pictures' paths; None for `text` or `path`.
        base_dir: folder that relative paths start at.
        cache_dir: where copies of remote tables are kept.

    Raises:
        SpecError: there is nothing that the model takes.
    """
    uri, kind = absolute_uri(data, base_dir), table_kind(data)
    try:
        if kind is not None:
            return _rows(uri, kind, column or ("text" if takes_text else "path"), takes_text, cache_dir)
        if takes_text:
            raise _problem(data, "a table (.csv, .jsonl, .parquet) with a column of texts", "Name such a file.")
        if column is not None:
            raise _problem(data, "a table with --column: folders have no columns", "Remove --column.")
        return _pictures(uri, data)
    except (MissingFileError, FileNotFoundError) as error:
        raise _problem(f"{data}, which does not exist", "a folder or a table", "Check the path.") from error
    except (FetchError, OSError) as error:
        raise _problem(
            f"{data}, which cannot be read ({error})",
            "a folder or table this machine can read",
            "Check name, access rights and network.",
        ) from error


def _pictures(uri: str, given: str) -> Examples:
    if not is_remote(uri) and Path(uri).is_file():
        return Examples(columns=(FILE_COLUMN,), rows=(_picture(uri, (Path(uri).name,)),))
    files = sorted(file for file in folder_tree(uri).files if is_picture(file))
    if not files:
        raise _problem(f"{given}, which holds no picture", "a folder with pictures, or a table", "Check the path.")
    return Examples(columns=(FILE_COLUMN,), rows=tuple(_picture(below(uri, file), (file,)) for file in files))


def _rows(uri: str, kind: TableKind, column: str, takes_text: bool, cache_dir: Path) -> Examples:  # noqa: FBT001 (from the public function, by its name)
    file = local_path(uri, cache_dir, refresh=True)
    try:
        columns = read_table(file, kind, ()).columns
        if column not in columns:
            raise _problem(
                f"column {column}",
                f"one of the table's columns: {', '.join(columns) or 'it has none'}",
                did_you_mean(column, columns) or "Name the column with --column.",
            )
        table = read_table(file, kind, columns)
    except TableError as error:
        raise _problem(f"{uri}, which is no readable {kind} file ({error})", f"a {kind} file", "Mend it.") from error
    at = columns.index(column)
    return Examples(
        columns=columns,
        rows=tuple(
            _text(row.values[at], row.values)
            if takes_text
            else _picture(beside_table(uri, row.values[at]) if row.values[at] else "", row.values)
            for row in table.rows
        ),
    )


def _picture(uri: str, cells: tuple[str, ...]) -> BatchExample:
    def read() -> bytes:
        if not uri:
            raise FetchError("the path is empty")
        return read_bytes(uri)

    return BatchExample(cells=cells, size=1, read=read)


def _text(text: str, cells: tuple[str, ...]) -> BatchExample:
    return BatchExample(cells=cells, size=len(text), read=text.encode)


def _problem(received: str, expected: str, fix: str) -> SpecError:
    return SpecError(Problem(where=_WHERE, received=received, expected=expected, fix=fix))
