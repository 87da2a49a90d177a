"""Writes rows to Parquet files: each appears whole or not at all, and the oldest go when the folder grows too large.

Replicas may share a folder; each writes files of its own.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.whole_file import replacing
from graftwork_serving.prediction_log.rows import Feedback, LoggedPrediction, Row, feedback_table, prediction_table

if TYPE_CHECKING:
    import pyarrow as pa

PREDICTIONS = "predictions"
FEEDBACK = "feedback"
_TIME_FORMAT = "%Y%m%dT%H%M%S"


def write_rows(folder: Path, rows: Sequence[Row], *, now: datetime, max_bytes: int) -> None:
    """Write rows, predictions and feedback apart from each other.

    Args:
        folder: gets a folder for each of them.
        rows: at least one.
        now: UTC.
        max_bytes: the oldest files are removed when there are more bytes than that.

    Raises:
        OSError: they could not be written; there is nothing of the file then.
    """
    predictions = [row for row in rows if isinstance(row, LoggedPrediction)]
    feedback = [row for row in rows if isinstance(row, Feedback)]
    if predictions:
        _write(folder / PREDICTIONS, prediction_table(predictions), now)
    if feedback:
        _write(folder / FEEDBACK, feedback_table(feedback), now)
    remove_oldest(folder, max_bytes)


def remove_oldest(folder: Path, max_bytes: int) -> None:
    """Remove the oldest files until there are no more than so many bytes; the newest stays in any case."""
    # Files being written have a name that begins with a dot.
    files = sorted(folder.glob("*/[0-9]*.parquet"), key=lambda file: file.name)
    sizes = [_size(file) for file in files]
    total = sum(sizes)
    for file, size in list(zip(files, sizes, strict=True))[:-1]:
        if total <= max_bytes:
            return
        file.unlink(missing_ok=True)  # another replica may have been faster
        total -= size


def _write(folder: Path, table: pa.Table, now: datetime) -> None:
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    name = f"{now.strftime(_TIME_FORMAT)}-{os.getpid()}-{secrets.token_hex(4)}.parquet"
    with replacing(folder / name) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
