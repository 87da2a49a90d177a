"""What a search leaves behind: one file a trial, written when the trial ends, so that no finished trial is repeated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from graftwork.bundle.manifest import SearchLineage
from graftwork_jobs import run_paths

TrialStatus = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial that ended.

    Attributes:
        number: 0 for the spec as it stands.
        values: what it changed, by path.
        status: `finished`: trained to its own end; `stopped`: ended early, others were better; `failed`: it
            could not go on.
        score: the metric at the epoch whose weights the trial ended with, or has so far; None if it failed.
        history: figures of every epoch.
        seconds: how long it took.
        until_s: seconds since the search began, counting only time that was spent on it.
        message: why it failed; empty otherwise.
    """

    number: int
    values: dict[str, Any]
    status: TrialStatus
    score: float | None
    history: tuple[dict[str, Any], ...]
    seconds: float
    until_s: float
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search came to.

    Attributes:
        metric: what was compared.
        higher_is_better: its direction.
        planned: how many trials there were to be.
        trials: those that ended, in order.
    """

    metric: str
    higher_is_better: bool
    planned: int
    trials: tuple[TrialRecord, ...]

    @property
    def best(self) -> TrialRecord | None:
        """The best trial among those that were trained to their end; the first of equals. None if all failed."""
        finished = [trial for trial in self.trials if trial.status == "finished" and trial.score is not None]
        if not finished:
            return None
        sign = -1.0 if self.higher_is_better else 1.0
        return min(finished, key=lambda trial: (sign * (trial.score or 0.0), trial.number))


def search_lineage(result: SearchResult) -> SearchLineage:
    """What a bundle remembers of the search it came from.

    Raises:
        ValueError: no trial came to its end.
    """
    best = result.best
    if best is None or best.score is None:
        raise ValueError("received a search without a finished trial, expected at least one")
    return SearchLineage(
        trial=best.number,
        values=best.values,
        metric=result.metric,
        score=best.score,
        trials=len(result.trials),
    )


def write_trial(folder: Path, record: TrialRecord) -> None:
    """Record a trial that ended."""
    folder.mkdir(parents=True, exist_ok=True)
    run_paths.write_json(folder / f"{record.number:04d}.json", asdict(record))


def read_trials(folder: Path) -> list[TrialRecord]:
    """The trials that ended so far, in order."""
    if not folder.is_dir():
        return []
    contents = [json.loads(file.read_text()) for file in sorted(folder.glob("[0-9]*.json"))]
    return [TrialRecord(**{**content, "history": tuple(content["history"])}) for content in contents]


def score_of(history: Sequence[dict[str, Any]], metric: str) -> float | None:
    """The metric at the epoch whose weights training has kept: the last phase's best one."""
    if not history:
        return None
    phase = history[-1]["phase"]
    kept = [record for record in history if record["phase"] == phase and record["is_best"]]
    return float(kept[-1][metric]) if kept else None
