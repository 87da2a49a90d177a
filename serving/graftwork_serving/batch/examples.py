"""What is to be answered: the pictures of a folder, or the rows of a table. Lists only; no picture is opened here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
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
from graftwork.data_files.tables import TableError, read_table, row_word
from graftwork.errors import Problem, SpecError
from graftwork.near_names import did_you_mean
from graftwork.spec.tasks import INPUT_COLUMNS

if TYPE_CHECKING:
    from graftwork.data_files.kinds import TableKind
    from graftwork.spec.tasks import InputKind

FILE_COLUMN = "file"
"""Names the pictures of a folder, by their paths below it."""
_WHERE = "DATA"


@dataclass(frozen=True, kw_only=True)
class BatchExample:
    """One of them.

    Attributes:
        place: where to find it, for messages.
        cells: what is already known of it, in the order of the columns.
        size: what it costs, in no unit; examples of like size go well together.
        read: gives the raw input; raises `FetchError` if there is none.
    """

    place: str
    cells: tuple[str, ...]
    size: int
    read: Callable[[], bytes]


@dataclass(frozen=True, kw_only=True)
class Examples:
    """All of them.

    Attributes:
        columns: names of what is known of each.
        rows: in the order of the table, or by path.
        ignored: files of a folder that are not called like pictures.
    """

    columns: tuple[str, ...]
    rows: tuple[BatchExample, ...]
    ignored: tuple[str, ...] = ()


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
    what: InputKind = "text" if takes_text else "image"
    try:
        if kind is not None:
            return _rows(uri, kind, column or INPUT_COLUMNS[what], what, cache_dir)
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
    if is_picture(uri) and (is_remote(uri) or Path(uri).is_file()):
        name = PurePosixPath(uri.partition("::")[0]).name
        return Examples(columns=(FILE_COLUMN,), rows=(_picture(uri, name, (name,)),))
    held = sorted(folder_tree(uri).files)
    files = [file for file in held if is_picture(file)]
    if not files:
        raise _problem(f"{given}, which holds no picture", "a folder with pictures, or a table", "Check the path.")
    return Examples(
        columns=(FILE_COLUMN,),
        rows=tuple(_picture(below(uri, file), file, (file,)) for file in files),
        ignored=tuple(file for file in held if not is_picture(file)),
    )


def _rows(uri: str, kind: TableKind, column: str, what: InputKind, cache_dir: Path) -> Examples:
    try:
        table = read_table(local_path(uri, cache_dir, refresh=True), kind, None)
    except TableError as error:
        raise _problem(f"{uri}, which is no readable {kind} file ({error})", f"a {kind} file", "Mend it.") from error
    if column not in table.columns:
        raise _problem(
            f"column {column}",
            f"one of the table's columns: {', '.join(table.columns) or 'it has none'}",
            did_you_mean(column, table.columns) or "Name the column with --column.",
        )
    at, word = table.columns.index(column), row_word(kind)
    return Examples(
        columns=table.columns,
        rows=tuple(
            _text(row.values[at], f"{word} {row.number}", row.values)
            if what == "text"
            else _picture(
                beside_table(uri, row.values[at]) if row.values[at] else "", f"{word} {row.number}", row.values
            )
            for row in table.rows
        ),
    )


def _picture(uri: str, place: str, cells: tuple[str, ...]) -> BatchExample:
    def read() -> bytes:
        if not uri:
            raise FetchError("the path is empty")
        return read_bytes(uri)

    return BatchExample(place=place, cells=cells, size=1, read=read)


def _text(text: str, place: str, cells: tuple[str, ...]) -> BatchExample:
    def read() -> bytes:
        # Halves of surrogate pairs, which JSON can hold, are for the decoder to refuse.
        return text.encode("utf-8", "surrogatepass")

    return BatchExample(place=place, cells=cells, size=len(text), read=read)


def _problem(received: str, expected: str, fix: str) -> SpecError:
    return SpecError(Problem(where=_WHERE, received=received, expected=expected, fix=fix))
