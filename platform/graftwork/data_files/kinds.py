"""What a file holds by the end of its name. Pure."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

TableKind = Literal["csv", "jsonl", "parquet"]
"""How a table is stored."""

PICTURE_SUFFIXES = frozenset(
    [
        ".avif",
        ".bmp",
        ".gif",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".mpo",
        ".pbm",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
"""How names of pictures that can be read end, in lower case."""

LABEL_SEPARATOR = "|"
"""Between several labels in one cell of a table."""

_TABLE_KINDS: dict[str, TableKind] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


def is_picture(name: str) -> bool:
    """Whether a file is called like a picture."""
    return _suffix(name) in PICTURE_SUFFIXES


def table_kind(uri: str) -> TableKind | None:
    """What kind of table a file or URI is called like; None for none."""
    return _TABLE_KINDS.get(_suffix(uri))


def _suffix(uri: str) -> str:
    path = uri.partition("::")[0]
    if "://" in path:
        path = path.partition("?")[0]  # signed URLs
    return PurePosixPath(path).suffix.lower()
