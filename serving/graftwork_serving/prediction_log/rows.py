"""Rows of the log: what is kept of a prediction and of a word about what was right. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from graftwork.bundle.answers import Answers


@dataclass(frozen=True, kw_only=True)
class LoggedPrediction:
    """What was said of one example.

    Attributes:
        time: when, UTC.
        request_id: names the request; feedback names it, too.
        example: position of the example in its request, from 0.
        model: name.
        version: version.
        protocol: as metrics call it.
        answers: puts the values into words.
        values: what the model gave, shape (labels,), float32.
        seconds: from the request's acceptance to its last score.
        content: the input as it was sent; None unless inputs are logged and it was a file or a text.
    """

    time: datetime
    request_id: str
    example: int
    model: str
    version: str
    protocol: str
    answers: Answers
    values: NDArray[np.float32]
    seconds: float
    content: bytes | None


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """What was right for one example.

    Attributes:
        time: when that was told, UTC.
        request_id: of the prediction.
        example: position in its request.
        label: the right class; None for other kinds of answers.
        labels: the right labels.
        values: the right numbers by name.
    """

    time: datetime
    request_id: str
    example: int
    label: str | None
    labels: tuple[str, ...] | None
    values: Mapping[str, float] | None


Row = LoggedPrediction | Feedback


def prediction_table(rows: list[LoggedPrediction]) -> pa.Table:
    """Rows as a table."""
    import pyarrow as pa

    answers = [row.answers.row(row.values, top=len(row.answers.labels)) for row in rows]
    numbers = pa.map_(pa.string(), pa.float32())
    return pa.table(
        {
            "time": pa.array([row.time for row in rows], pa.timestamp("us", "UTC")),
            "request_id": pa.array([row.request_id for row in rows], pa.string()),
            "example": pa.array([row.example for row in rows], pa.int32()),
            "model": pa.array([row.model for row in rows], pa.string()),
            "version": pa.array([row.version for row in rows], pa.string()),
            "protocol": pa.array([row.protocol for row in rows], pa.string()),
            "label": pa.array([answer.get("label") for answer in answers], pa.string()),
            "labels": pa.array([answer.get("labels") for answer in answers], pa.list_(pa.string())),
            "scores": pa.array([_pairs(answer.get("scores")) for answer in answers], numbers),
            "values": pa.array([_pairs(answer.get("values")) for answer in answers], numbers),
            "seconds": pa.array([row.seconds for row in rows], pa.float64()),
            "input": pa.array([row.content for row in rows], pa.binary()),
        }
    )


def feedback_table(rows: list[Feedback]) -> pa.Table:
    """Rows as a table."""
    import pyarrow as pa

    return pa.table(
        {
            "time": pa.array([row.time for row in rows], pa.timestamp("us", "UTC")),
            "request_id": pa.array([row.request_id for row in rows], pa.string()),
            "example": pa.array([row.example for row in rows], pa.int32()),
            "true_label": pa.array([row.label for row in rows], pa.string()),
            "true_labels": pa.array([row.labels for row in rows], pa.list_(pa.string())),
            "true_values": pa.array([_pairs(row.values) for row in rows], pa.map_(pa.string(), pa.float64())),
        }
    )


def _pairs(numbers: Mapping[str, float] | None) -> list[tuple[str, float]] | None:
    return None if numbers is None else list(numbers.items())
