"""Files that are there whole or not at all: written under a temporary name beside their own, then renamed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file that takes the place of `path` at the end of the block.

    What was written is on the disk before it takes the place, so that a power cut leaves the old file or the new one.
    After an error in the block the old file is as it was, and nothing is left beside it.

    Args:
        path: the file; its folder is made if need be.

    Yields:
        The temporary file, which the block must write. It has the same suffix, as some writers go by that.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{threading.get_ident()}-{path.name}")
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old content or the new, never half of it."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
