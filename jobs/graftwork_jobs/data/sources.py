"""What a spec's data source holds: pictures or texts with their class names, from a folder or a table, local or remote.

Lists only; no picture is opened here. Everything that is wrong with a source comes back as problems, all at once.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from graftwork.data_files.fetch import FetchError, MissingFileError, absolute_uri, beside_table, is_remote, local_path
from graftwork.data_files.folder_tree import below, folder_tree
from graftwork.data_files.kinds import PICTURE_SUFFIXES, TableKind, is_picture, table_kind
from graftwork.data_files.tables import TableError, TableRow, read_table, row_word
from graftwork.errors import Problem
from graftwork.near_names import did_you_mean, near_names
from graftwork.spec.fine_tune_job import DataSource, SplitSource
from graftwork.spec.tasks import InputKind
from graftwork_jobs.data.row_choice import PART_WORDS, choose_rows, parts_named

_SHOWN = 20

NOUNS: dict[InputKind, str] = {"image": "picture", "text": "text"}
"""What an example is called in messages."""

Source: TypeAlias = DataSource | SplitSource
"""Where examples come from: `data.train`, `data.validation`, `data.test` or a further test set."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One picture or text with its class.

    Attributes:
        input: absolute local path or URI of a picture; or the text itself.
        label: class name; where something else is predicted, its cells in one string.
        place: where to find it, for messages.
        cells: the table's cells that say what is predicted; empty for a folder.
        weight: the table's cell that says how much it counts in training; None where no column does.
        slices: the table's cells that say which slices it belongs to.
    """

    input: str
    label: str
    place: str
    cells: tuple[str, ...] = ()
    weight: str | None = None
    slices: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Table columns that say what is to be predicted.

    Attributes:
        named: for each column the YAML path of the field that names it, and the name.
        in_folders: whether class folders say it too.
        may_be_empty: whether an empty cell says something.
        weight: name of the column with the weights of examples; None for none.
        slices: names of the columns by which the test set is cut.
    """

    named: tuple[tuple[str, str], ...]
    in_folders: bool = False
    may_be_empty: bool = False
    weight: str | None = None
    slices: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[tuple[str, str], ...]:
        """With the column of weights and those of slices, which come last."""
        weights = () if self.weight is None else (("spec.data.weightColumn", self.weight),)
        slices = ((f"spec.evaluation.slices[{place}]", name) for place, name in enumerate(self.slices))
        return (*self.named, *weights, *slices)

    @property
    def only_in_tables(self) -> bool:
        """Whether a folder cannot say all that is asked for."""
        return not self.in_folders or self.weight is not None or bool(self.slices)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns."""
        return tuple(name for _, name in self.all)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a source holds.

    Attributes:
        where: YAML path of the source, such as `spec.data.train`.
        examples: in a fixed order: by path for a folder, by row for a table.
        empty_classes: class folders without a picture.
        alike: sub-folders that each of the class folders has, if all pictures are in these: they may be the classes.
        ignored: files that were left out because they are no pictures or lie outside the class folders.
        incomplete: rows that were left out, each with what it lacks.
        parts: columns that seem to say which part of the data set a row belongs to, and that nobody asked for, each
            with its values.
        problems: what keeps the source from being used.
    """

    where: str
    examples: tuple[Example, ...] = ()
    empty_classes: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    incomplete: tuple[tuple[str, str], ...] = ()
    parts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    problems: tuple[Problem, ...] = ()


def list_source(
    source: Source,
    what: InputKind,
    *,
    where: str,
    base_dir: Path,
    cache_dir: Path,
    columns: Columns,
    skip_incomplete: bool = False,
) -> Listing:
    """List the examples of a source.

    Args:
        source: a source of the spec that has a `uri`.
        what: pictures or texts.
        where: its YAML path.
        base_dir: where relative paths start.
        cache_dir: where copies of remote tables are kept.
        columns: of tables, with what is to be predicted.
        skip_incomplete: leave out rows that lack something, rather than refuse them.
    """
    if source.uri is None:
        raise ValueError(f"{where} names no data of its own")
    uri = absolute_uri(source.uri, base_dir)
    try:
        match _format(source):
            case "image-folder" if what == "text":
                return Listing(where=where, problems=(_no_table(source.uri, where),))
            case "image-folder" if source.rows is not None:
                named = (*columns.names, source.rows.column)
                return Listing(where=where, problems=(_no_columns(source.uri, where, named),))
            case "image-folder" if columns.only_in_tables:
                return Listing(where=where, problems=(_no_columns(source.uri, where, columns.names),))
            case "image-folder":
                return _list_folder(uri, source.uri, where)
            case kind:
                return _list_table(uri, source, kind, what, where, cache_dir, columns, skip_incomplete)
    except MissingFileError:
        return Listing(where=where, problems=(_missing(uri, source.uri, where),))
    except (FetchError, OSError) as error:
        return Listing(where=where, problems=(_unreachable(source.uri, where, error),))


def _format(source: Source) -> TableKind | Literal["image-folder"]:
    if source.format != "auto":
        return source.format
    return table_kind(source.uri or "") or "image-folder"


# Folders


def _list_folder(uri: str, given: str, where: str) -> Listing:
    tree = folder_tree(uri)
    kept: dict[str, list[str]] = {folder: [] for folder in sorted(tree.folders)}
    ignored: list[str] = []
    loose: list[str] = []
    for file in sorted(tree.files):
        folder, inside, _ = file.partition("/")
        if not is_picture(file):
            ignored.append(file)
        elif not inside:
            loose.append(file)
        else:
            kept.setdefault(folder, []).append(file)
    problems = []
    if not kept:
        problems.append(_no_class_folders(given, where, len(loose)))
    elif len(kept) > 1 and PART_WORDS.issuperset(folder.lower() for folder in kept):
        problems.append(_splits_for_classes(given, where, sorted(kept)))
    elif not any(kept.values()):
        problems.append(
            Problem(
                where=f"{where}.uri",
                received=f"{given}: no picture in {len(kept)} class folders",
                expected="pictures in sub-folders, one sub-folder a class",
                fix=f"Put pictures there; these kinds are read: {_kinds()}.",
            )
        )
    return Listing(
        where=where,
        examples=tuple(
            Example(input=path, label=_clean(folder), place=path)
            for folder, files in kept.items()
            for path in (below(uri, file) for file in files)
        ),
        empty_classes=tuple(_clean(folder) for folder, files in kept.items() if not files),
        alike=_alike(kept),
        ignored=tuple(ignored + loose),
        problems=tuple(problems),
    )


def _alike(kept: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Sub-folders that all class folders share, two or more, with all pictures inside."""
    below = [{file.split("/")[1] if file.count("/") > 1 else "" for file in files} for files in kept.values()]
    shared = below[0] if below else set()
    is_alike = len(below) > 1 and len(shared) > 1 and "" not in shared and all(each == shared for each in below)
    return tuple(sorted(shared)) if is_alike else ()


def _splits_for_classes(given: str, where: str, folders: Sequence[str]) -> Problem:
    train = next((folder for folder in folders if folder.lower().startswith("train")), folders[-1])
    base = given.rstrip("/")
    return Problem(
        where=f"{where}.uri",
        received=f"{given}, whose folders are called {' and '.join(folders)}",
        expected="one sub-folder a class, with its pictures inside",
        fix="These look like parts of a data set. Name each where it belongs: "
        f"`train: {{uri: {base}/{train}}}`, and the others under `validation` and `test`.",
    )


def _no_class_folders(given: str, where: str, loose: int) -> Problem:
    found = f"{loose} pictures but no sub-folder" if loose else "no sub-folder"
    return Problem(
        where=f"{where}.uri",
        received=f"{given}: {found}",
        expected="one sub-folder a class, with its pictures inside",
        fix="Sort the pictures into sub-folders named after their classes, or name a table (CSV, JSON Lines, Parquet).",
    )


# Tables


def _list_table(
    uri: str,
    source: Source,
    kind: TableKind,
    what: InputKind,
    where: str,
    cache_dir: Path,
    columns: Columns,
    skip_incomplete: bool,  # noqa: FBT001 (of this module only)
) -> Listing:
    file = local_path(uri, cache_dir, refresh=True)
    if not file.exists():
        raise MissingFileError(uri)
    if file.is_dir():
        raise IsADirectoryError(f"{uri} is a folder, not a {kind} file")
    key, column = ("textColumn", source.text_column) if what == "text" else ("pathColumn", source.path_column)
    wanted = (column, *columns.names)
    choice = () if source.rows is None else ((f"{where}.rows.column", source.rows.column),)
    try:
        table = read_table(file, kind, (*wanted, *(name for _, name in choice)))
        parts = () if choice else parts_named(file, kind, table.columns)
    except TableError as error:
        return Listing(where=where, problems=(_unreadable_table(source, kind, where, error),))
    problems = [
        _unknown_column(name, table.columns, at)
        for at, name in ((f"{where}.{key}", column), *columns.all, *choice)
        if name not in table.columns
    ]
    if problems:
        return Listing(where=where, problems=tuple(problems))
    rows, problems = choose_rows(table.rows, source.rows, where)
    # An empty cell of a slice's column is a slice of its own.
    needed = 1 if columns.may_be_empty else len(wanted) - len(columns.slices)
    whole = [row for row in rows if all(row.values[:needed])]
    incomplete = [row for row in rows if not all(row.values[:needed])]
    if incomplete and not (skip_incomplete and whole):
        problems.append(_missing_values(source, kind, wanted[:needed], where, incomplete))
    if not table.rows:
        problems.append(
            Problem(
                where=f"{where}.uri",
                received=f"{source.uri}: no rows",
                expected=f"a row for each {NOUNS[what]}",
                fix="Check how the table was written.",
            )
        )
    return Listing(
        where=where,
        examples=tuple(_example(uri, kind, what, row, columns) for row in whole),
        incomplete=tuple((_place(uri, kind, row), _lacks(row, wanted[:needed])) for row in incomplete),
        parts=parts,
        problems=tuple(problems),
    )


def _example(table: str, kind: TableKind, what: InputKind, row: TableRow, columns: Columns) -> Example:
    value, *cells = row.values
    slices = [cells.pop() for _ in columns.slices]
    weight = cells.pop() if columns.weight is not None else None
    uri = value if what == "text" else beside_table(table, value)
    place = _place(table, kind, row)
    return Example(
        input=uri,
        label=_clean(", ".join(cells)),
        place=place if what == "text" else f"{uri} ({place})",
        cells=tuple(_clean(cell) for cell in cells),
        weight=weight,
        slices=tuple(_clean(cell) for cell in reversed(slices)),
    )


def _place(table: str, kind: TableKind, row: TableRow) -> str:
    return f"{table} {row_word(kind)} {row.number}"


def _lacks(row: TableRow, columns: Sequence[str]) -> str:
    empty = [name for name, value in zip(columns, row.values, strict=False) if not value]
    return f"nothing in {' and '.join(empty)}"


# Problems


def _missing(uri: str, given: str, where: str) -> Problem:
    return Problem(
        where=f"{where}.uri",
        received=f"{given}, which does not exist",
        expected="an existing folder or table",
        fix=_nearby(uri) or "Check the path; relative paths start at the spec file.",
    )


def _no_columns(given: str, where: str, columns: Sequence[str]) -> Problem:
    return Problem(
        where=f"{where}.uri",
        received=f"{given}, a folder",
        expected=f"a table (CSV, JSON Lines, Parquet) with the columns {', '.join(columns)}",
        fix="Write a table with the path of each picture and what is to be predicted.",
    )


def _nearby(uri: str) -> str:
    """A question with names like the missing one, from the deepest folder on its way that exists (local paths only)."""
    if is_remote(uri):
        return ""
    path = Path(uri)
    while not path.parent.is_dir():
        path = path.parent
    there = sorted(
        entry.name for entry in path.parent.iterdir() if entry.is_dir() or table_kind(entry.name) is not None
    )
    near = [f"`{path.parent / name}`" for name in near_names(path.name, there)]
    return f"Did you mean {' or '.join(near)}?" if near else ""


def _unreachable(given: str, where: str, error: Exception) -> Problem:
    return Problem(
        where=f"{where}.uri",
        received=f"{given}, which cannot be read ({error})",
        expected="a folder or table this machine can read",
        fix="Check name, access rights, credentials and network; other protocols than http and zip need their fsspec "
        "driver package, such as s3fs or gcsfs.",
    )


def _no_table(given: str, where: str) -> Problem:
    return Problem(
        where=f"{where}.uri",
        received=f"{given}, whose name does not end in .csv, .jsonl or .parquet",
        expected="a table with a text column and a label column",
        fix="Name such a file, or say with `format` what it is.",
    )


def _unreadable_table(source: Source, kind: TableKind, where: str, error: Exception) -> Problem:
    expected = {
        "csv": "UTF-8 text with commas and a header line",
        "jsonl": "UTF-8 text with a JSON object in each line",
        "parquet": "a Parquet file",
    }
    return Problem(
        where=f"{where}.uri",
        received=f"{source.uri}, which is no readable {kind} file ({error})",
        expected=expected[kind],
        fix="Mend the file (save it as UTF-8), or set format.",
    )


def _unknown_column(wanted: str, columns: Sequence[str], where: str) -> Problem:
    return Problem(
        where=where,
        received=f"column {wanted}",
        expected=f"one of the table's columns: {', '.join(columns) or 'it has none'}",
        fix=did_you_mean(wanted, columns) or "Name the column, or rename it in the table.",
    )


def _missing_values(
    source: Source, kind: TableKind, columns: Sequence[str], where: str, incomplete: Sequence[TableRow]
) -> Problem:
    lines = ", ".join(str(row.number) for row in incomplete[:_SHOWN])
    more = f" and {len(incomplete) - _SHOWN} more" if len(incomplete) > _SHOWN else ""
    return Problem(
        where=f"{where}.uri",
        received=f"{source.uri}: an empty cell in {row_word(kind)} {lines}{more}",
        expected=f"a value for {' and '.join(columns)} in every row",
        fix="Fill in or delete these rows, or leave them out with spec.data.onIncompleteRow: skip.",
    )


def _clean(label: str) -> str:
    """One spelling of a class name: file systems differ in how they compose accented letters."""
    return unicodedata.normalize("NFC", label)


def _kinds() -> str:
    return ", ".join(sorted(suffix.removeprefix(".") for suffix in PICTURE_SUFFIXES))
