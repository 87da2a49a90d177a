"""The log of one replica: takes rows at once, writes them later on a thread of its own, drops what it cannot take."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.errors import Problem, SpecError
from graftwork_serving.prediction_log.rows import Feedback, LoggedPrediction, Row
from graftwork_serving.prediction_log.writer import write_rows

if TYPE_CHECKING:
    from graftwork_serving.endpoint_config import PredictionLogConfig
    from graftwork_serving.service import Prediction

_LOGGER = logging.getLogger(__name__)
# A file is written when so many rows wait, or this long after the last one.
_ROWS_A_FILE = 5_000
_SECONDS_A_FILE = 60.0
# What may wait: beyond that rows are dropped, so that a slow disk costs rows and neither time nor memory.
_MOST_ROWS = 20_000
_MOST_INPUT_BYTES = 64 << 20


class PredictionLog:
    """The log.

    Args:
        config: where to and how much.
        count: told how many rows were `written`, `dropped` for want of room, or `failed` to be written.
        draw: random numbers, 0 <= x < 1, that decide which requests are logged.
        now: the time, UTC.

    Raises:
        SpecError: nothing can be written there.
    """

    def __init__(
        self,
        config: PredictionLogConfig,
        count: Callable[[str, int], None],
        *,
        draw: Callable[[], float] = random.random,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.config = config
        self._folder = Path(config.path)
        self._count = count
        self._draw = draw
        self._now = now
        self._wake = threading.Condition()
        self._rows: list[Row] = []
        self._input_bytes = 0
        self._closed = False
        _check_folder(self._folder)
        self._thread = threading.Thread(target=self._work, name="graftwork-log", daemon=True)
        self._thread.start()

    def add_prediction(self, prediction: Prediction, *, request_id: str, protocol: str) -> None:
        """Log a request's answers, if it is one of the sample; returns at once."""
        if self._draw() >= self.config.sample:
            return
        model, now = prediction.model, self._now()
        contents = [each if self.config.inputs and isinstance(each, bytes) else None for each in prediction.examples]
        self._add(
            [
                LoggedPrediction(
                    time=now,
                    request_id=request_id,
                    example=index,
                    model=model.name,
                    version=model.version,
                    protocol=protocol,
                    answers=model.answers,
                    values=row,
                    seconds=prediction.seconds,
                    content=content,
                )
                for index, (row, content) in enumerate(zip(prediction.scores, contents, strict=True))
            ]
        )

    def add_feedback(self, feedback: Sequence[Feedback]) -> bool:
        """Log what was right; false if there is no room."""
        return self._add(feedback)

    def close(self) -> None:
        """Write what waits, and end."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    def _add(self, rows: Sequence[Row]) -> bool:
        size = sum(len(row.content or b"") for row in rows if isinstance(row, LoggedPrediction))
        with self._wake:
            fits = len(self._rows) + len(rows) <= _MOST_ROWS and self._input_bytes + size <= _MOST_INPUT_BYTES
            if fits and not self._closed:
                self._rows += rows
                self._input_bytes += size
                if self._is_due:
                    self._wake.notify()
                return True
        self._count("dropped", len(rows))
        return False

    @property
    def _is_due(self) -> bool:
        """Whether to write now rather than after a while."""
        is_much = len(self._rows) >= _ROWS_A_FILE or self._input_bytes > _MOST_INPUT_BYTES // 2
        return self._closed or is_much

    def _work(self) -> None:
        is_last = False
        while not is_last:
            with self._wake:
                if not self._is_due:
                    self._wake.wait(_SECONDS_A_FILE)
                is_last = self._closed
                rows, self._rows, self._input_bytes = self._rows, [], 0
            if rows:
                self._write(rows)

    def _write(self, rows: list[Row]) -> None:
        try:
            write_rows(self._folder, rows, now=self._now(), max_bytes=self.config.max_bytes)
        except Exception:
            # Whatever goes wrong with the log must not end it: predictions go on, and the next file may succeed.
            _LOGGER.exception("%d rows of the prediction log could not be written to %s.", len(rows), self._folder)
            self._count("failed", len(rows))
        else:
            self._count("written", len(rows))


def _check_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{threading.get_native_id()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise SpecError(
            Problem(
                where="spec.predictionLog.path",
                received=f"{str(folder)!r} ({error.strerror})",
                expected="a directory that the endpoint can write to",
                fix="Name another one, or make it writable.",
            )
        ) from error
