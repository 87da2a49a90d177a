from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from graftwork_jobs.search.records import (
    SearchResult,
    TrialRecord,
    TrialStatus,
    read_trials,
    score_of,
    search_lineage,
    write_trial,
)


def record(number: int, score: float | None, status: TrialStatus = "finished") -> TrialRecord:
    return TrialRecord(
        number=number,
        values={"head.dropout": number / 10} if number else {},
        status=status,
        score=score,
        history=({"phase": "head", "epoch": 1, "val_loss": score, "is_best": True},),
        seconds=1.0,
        until_s=2.0,
    )


def result(*trials: TrialRecord, higher_is_better: bool = False) -> SearchResult:
    return SearchResult(metric="val_loss", higher_is_better=higher_is_better, planned=len(trials), trials=trials)


def test_the_best_is_one_that_was_trained_to_its_end() -> None:
    """In the metric's direction; the first of equals; a promising one that was ended early does not count."""
    trials = (record(0, 0.5), record(1, 0.2, "stopped"), record(2, 0.4), record(3, 0.4), record(4, None, "failed"))
    assert result(*trials).best == trials[2]
    assert result(*trials, higher_is_better=True).best == trials[0]
    assert result(record(0, None, "failed")).best is None


def test_the_lineage_names_the_trial() -> None:
    """With what it changed and what it reached."""
    lineage = search_lineage(result(record(0, 0.5), record(1, 0.4)))
    assert (lineage.trial, lineage.values, lineage.score, lineage.trials) == (1, {"head.dropout": 0.1}, 0.4, 2)


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    """In order of their numbers."""
    records = [record(10, 0.1), record(2, 0.3, "stopped")]
    for each in records:
        write_trial(tmp_path / "trials", each)
    (tmp_path / "trials" / "0003").mkdir()
    assert read_trials(tmp_path / "trials") == records[::-1]
    assert read_trials(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("history", "score"),
    [
        ([], None),
        ([("a", True, 3.0), ("a", False, 1.0)], 3.0),
        ([("a", True, 3.0), ("b", True, 5.0), ("b", True, 4.0), ("b", False, 2.0)], 4.0),
    ],
)
def test_the_score_is_that_of_the_weights_the_trial_ends_with(
    history: list[tuple[str, bool, float]], score: float | None
) -> None:
    """The kept epoch of the last phase, not the best figure seen on the way."""
    records: list[dict[str, Any]] = [
        {"phase": phase, "is_best": best, "val_loss": loss} for phase, best, loss in history
    ]
    assert score_of(records, "val_loss") == score
