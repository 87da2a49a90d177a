from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from graftwork.bundle.answers import Answers, LabelAnswers, NumberAnswers, ScoreAnswers
from graftwork.errors import SpecError
from graftwork_serving.endpoint_config import PredictionLogConfig
from graftwork_serving.prediction_log.log import PredictionLog
from graftwork_serving.prediction_log.rows import Feedback
from graftwork_serving.prediction_log.writer import remove_oldest
from graftwork_serving.service import Prediction
from tests.unit.serving.models import version

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def config(folder: Path, **changes: Any) -> PredictionLogConfig:
    return PredictionLogConfig(
        **{"path": str(folder), "sample": 1.0, "inputs": False, "max_bytes": 10_000_000, **changes}
    )


def prediction(answers: Answers | None = None, scores: Any = ((0.25, 0.75),), examples: Any = (b"x",)) -> Prediction:
    return Prediction(
        model=version("3", answers=answers), scores=np.asarray(scores, np.float32), seconds=0.5, examples=examples
    )


def read(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist(maps_as_pydicts="strict")]


def logged(folder: Path, *predictions: Prediction, **changes: Any) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Log predictions, one request each, and read what became of them."""
    counted: Counter[str] = Counter()
    log = PredictionLog(config(folder, **changes), lambda result, rows: counted.update({result: rows}), now=lambda: NOW)
    for number, each in enumerate(predictions):
        log.add_prediction(each, request_id=f"r{number}", protocol="plain")
    log.close()
    return read(folder / "predictions"), counted


def test_a_request_is_a_row_an_example(tmp_path: Path) -> None:
    """Time, model, version, label and all scores, under the request's id; never the input."""
    asked = prediction(ScoreAnswers(("no", "yes")), [[0.25, 0.75], [0.5, 0.25]], [b"first", b"second"])
    rows, counted = logged(tmp_path, asked)
    assert counted == {"written": 2}
    assert rows[0] == {
        "time": NOW,
        "request_id": "r0",
        "example": 0,
        "model": "m",
        "version": "3",
        "protocol": "plain",
        "label": "yes",
        "labels": None,
        "scores": {"yes": 0.75, "no": 0.25},
        "values": None,
        "seconds": 0.5,
        "input": None,
    }
    assert [(row["example"], row["label"]) for row in rows] == [(0, "yes"), (1, "no")]


def test_every_kind_of_answer_has_its_columns(tmp_path: Path) -> None:
    """Labels given and numbers by name, in one file."""
    rows, _ = logged(
        tmp_path,
        prediction(LabelAnswers(("red", "wet"), np.asarray([0.5, 0.2]))),
        prediction(NumberAnswers(("height", "width")), [[1.5, -2.0]]),
    )
    assert (rows[0]["labels"], rows[0]["label"], rows[0]["scores"]) == (["wet"], None, {"wet": 0.75, "red": 0.25})
    assert (rows[1]["values"], rows[1]["scores"]) == ({"height": 1.5, "width": -2.0}, None)


def test_inputs_are_kept_only_where_the_spec_says_so(tmp_path: Path) -> None:
    """Then as they were sent; pixels, which are no file, are not."""
    pixels = np.zeros((4, 4, 3), np.uint8)
    rows, _ = logged(tmp_path, prediction(examples=[b"a picture"]), prediction(examples=[pixels]), inputs=True)
    assert [row["input"] for row in rows] == [b"a picture", None]


def test_only_a_sample_is_logged(tmp_path: Path) -> None:
    """Whole requests, as the draw falls."""
    draws = iter([0.05, 0.5, 0.0999, 0.1])
    log = PredictionLog(config(tmp_path, sample=0.1), lambda *_: None, draw=lambda: next(draws))
    for number in range(4):
        log.add_prediction(prediction(), request_id=f"r{number}", protocol="plain")
    log.close()
    assert [row["request_id"] for row in read(tmp_path / "predictions")] == ["r0", "r2"]


def test_what_does_not_fit_is_dropped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that cannot keep up costs rows, not memory."""
    monkeypatch.setattr("graftwork_serving.prediction_log.log._MOST_ROWS", 3)
    rows, counted = logged(tmp_path, *[prediction() for _ in range(5)])
    assert counted == {"written": 3, "dropped": 2}
    assert len(rows) == 3
    monkeypatch.setattr("graftwork_serving.prediction_log.log._MOST_INPUT_BYTES", 10)
    _, counted = logged(tmp_path / "inputs", prediction(examples=[bytes(11)]), inputs=True)
    assert counted == {"dropped": 1}


def test_rows_that_cannot_be_written_are_counted_and_the_log_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is no reason to fail a prediction, and nothing of the file is left."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    rows, counted = logged(tmp_path, prediction())
    assert (rows, counted) == ([], {"failed": 1})
    assert list((tmp_path / "predictions").iterdir()) == []


def test_many_rows_are_written_without_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is due when enough rows wait, long before its time."""
    monkeypatch.setattr("graftwork_serving.prediction_log.log._ROWS_A_FILE", 2)
    written = Counter[str]()
    log = PredictionLog(config(tmp_path), lambda result, rows: written.update({result: rows}))
    for number in range(4):
        log.add_prediction(prediction(), request_id=f"r{number}", protocol="plain")
    log.close()
    assert written["written"] == 4
    assert len(read(tmp_path / "predictions")) == 4


def test_the_oldest_files_go_when_the_folder_is_full(tmp_path: Path) -> None:
    """Of predictions and feedback together; files being written and files of others stay."""
    for number, kind in enumerate(["predictions", "feedback", "predictions"]):
        (tmp_path / kind).mkdir(exist_ok=True)
        (tmp_path / kind / f"2026010{number}T000000-1-aa.parquet").write_bytes(bytes(100))
    (tmp_path / "predictions" / ".7-8-20260101T000000-1-bb.parquet").write_bytes(bytes(100))
    (tmp_path / "predictions" / "notes.txt").write_bytes(bytes(1000))
    remove_oldest(tmp_path, 200)
    left = sorted(file.name for file in tmp_path.glob("*/*"))
    assert left == [
        ".7-8-20260101T000000-1-bb.parquet",
        "20260101T000000-1-aa.parquet",
        "20260102T000000-1-aa.parquet",
        "notes.txt",
    ]
    remove_oldest(tmp_path, 0)
    assert len(list(tmp_path.glob("*/[0-9]*"))) == 1, "the newest stays"


def test_a_folder_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    """With the field's name, before anything is served."""
    (tmp_path / "file").touch()
    with pytest.raises(SpecError, match=r"spec.predictionLog.path"):
        PredictionLog(config(tmp_path / "file" / "log"), lambda *_: None)


def test_feedback_joins_predictions_by_request_and_example(tmp_path: Path) -> None:
    """What a user computes accuracy with, in the words of the documentation."""
    import pandas as pd

    log = PredictionLog(config(tmp_path), lambda *_: None, now=lambda: NOW)
    for number, scores in enumerate(([[0.9, 0.1]], [[0.2, 0.8]], [[0.7, 0.3]])):
        log.add_prediction(prediction(scores=scores), request_id=f"r{number}", protocol="plain")
    right = [("r0", "no"), ("r1", "no")]
    told = [
        Feedback(time=NOW, request_id=request, example=0, label=label, labels=None, values=None)
        for request, label in right
    ]
    assert log.add_feedback(told)
    log.close()
    joined = pd.read_parquet(tmp_path / "predictions").merge(
        pd.read_parquet(tmp_path / "feedback"), on=["request_id", "example"]
    )
    assert (joined["label"] == joined["true_label"]).mean() == 0.5
