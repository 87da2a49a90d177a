"""Every prediction of a test set beside what is right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from graftwork.data_files.tables import read_table
from graftwork_jobs.assessment import Assessment
from graftwork_jobs.data.index import Split
from graftwork_jobs.prediction_tables import write_predictions
from graftwork_jobs.targets.classes import ClassTarget
from graftwork_jobs.targets.labels import LabelTarget
from graftwork_jobs.targets.levels import LevelTarget
from graftwork_jobs.targets.regression import NumberTarget

if TYPE_CHECKING:
    from graftwork.spec.tasks import InputKind
    from graftwork_jobs.targets.base import Target

_SCORES = np.array([[0.25, 0.75], [0.9, 0.1]], np.float32)
_HAS = np.array([[1, 1], [0, 0]], np.float32)


def _classes() -> tuple[Target, np.ndarray]:
    return ClassTarget(("no", "yes")), np.array([0, 1], np.int32)


def _levels() -> tuple[Target, np.ndarray]:
    return LevelTarget(("no", "yes")), np.array([0, 1], np.int32)


def _labels() -> tuple[Target, np.ndarray]:
    return LabelTarget(("no", "yes"), _HAS), _HAS


def _numbers() -> tuple[Target, np.ndarray]:
    values = np.array([[1.5, -2], [3, 4e6]], np.float32)
    return NumberTarget(("no", "yes"), values), values


@pytest.mark.parametrize(
    ("kind", "columns", "first", "second"),
    [
        (
            "classes",
            "true_label predicted_label predicted_score score_no score_yes",
            "no yes 0.75 0.25 0.75",
            "yes no 0.9 0.9 0.1",
        ),
        (
            "levels",
            "true_label predicted_label predicted_score score_no score_yes",
            "no yes 0.75 0.25 0.75",
            "yes no 0.9 0.9 0.1",
        ),
        ("labels", "true_labels predicted_labels score_no score_yes", "no|yes yes 0.25 0.75", " no 0.9 0.1"),
        (
            "numbers",
            "true_no true_yes predicted_no predicted_yes",
            "1.5 -2.0 0.25 0.75",
            "3.0 4000000.0 0.9 0.1",
        ),
    ],
)
@pytest.mark.parametrize(("what", "column"), [("image", "path"), ("text", "text")])
def test_truth_answer_and_scores_of_each_example(
    tmp_path: Path, kind: str, columns: str, first: str, second: str, what: InputKind, column: str
) -> None:
    """In the words of endpoints and `graft batch-predict`, for every kind of target."""
    target, targets = {"classes": _classes, "levels": _levels, "labels": _labels, "numbers": _numbers}[kind]()
    split = Split(name="test", inputs=("a", "b"), targets=targets, digests=("1", "2"))
    assessment = Assessment(
        tests={},
        predictions={"test": _SCORES, "test_mirrored": _SCORES},
        target=target,
        targets={},
        uncalibrated={},
        intervals={},
    )
    files = write_predictions(tmp_path, {"train": split, "test": split}, assessment, what=what)
    assert files == {"test": tmp_path / "test.csv"}
    assert list(tmp_path.iterdir()) == [tmp_path / "test.csv"]
    table = read_table(files["test"], "csv", None)
    assert table.columns == (column, *columns.split(" "))
    assert [row.values for row in table.rows] == [("a", *first.split(" ")), ("b", *second.split(" "))]
