"""Tables that hold several parts of a data set: which rows a source takes, and columns that name the parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from graftwork.data_files.kinds import TableKind
from graftwork.data_files.tables import TableRow, read_table
from graftwork.errors import Problem
from graftwork.near_names import did_you_mean
from graftwork.spec.job_data import RowChoice

PART_WORDS: Final = frozenset(
    ["train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval", "evaluation", "holdout"]
)
"""What parts of a data set are called; a class is hardly called so, and all of them never are."""
_PART_COLUMNS: Final = frozenset(["split", "set", "subset", "partition", "fold", "part", "ml_use", "usage"])
_SHOWN: Final = 10


def choose_rows(
    rows: Sequence[TableRow], choice: RowChoice | None, where: str
) -> tuple[Sequence[TableRow], list[Problem]]:
    """The rows that a source takes.

    Args:
        rows: all of a table; with a choice, the last value of each is that of its column.
        choice: of the spec; None for all.
        where: YAML path of the source.

    Returns:
        Its rows, without the value of the choice's column; and what is wrong with the choice.
    """
    if choice is None:
        return rows, []
    found = Counter(row.values[-1] for row in rows)
    problems = [
        Problem(
            where=f"{where}.rows.values[{place}]",
            received=f"{value!r}, which no row has in {choice.column}",
            expected=_listed(found),
            fix=did_you_mean(value, list(found)) or "Write one of these.",
        )
        for place, value in enumerate(choice.values)
        if rows and value not in found
    ]
    wanted = frozenset(choice.values)
    return [replace(row, values=row.values[:-1]) for row in rows if row.values[-1] in wanted], problems


def parts_named(file: Path, kind: TableKind, columns: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Columns by whose names and values a table holds several parts of a data set, with these values.

    Args:
        file: the table.
        kind: how it is stored.
        columns: all of its columns.

    Raises:
        TableError: it cannot be read.
    """
    found = []
    for name in columns:
        if name.lower() not in _PART_COLUMNS or columns.count(name) > 1:
            continue
        values = Counter(row.values[0] for row in read_table(file, kind, [name]).rows)
        if len(values) > 1 and PART_WORDS.issuperset(value.lower() for value in values):
            found.append((name, tuple(values)))
    return tuple(found)


def _listed(found: Counter[str]) -> str:
    named = ", ".join(f"{value!r} ({count:,} rows)" for value, count in found.most_common(_SHOWN))
    return f"a value of that column: {named}{' and others' if len(found) > _SHOWN else ''}"
