"""The course of a training run: epoch records as the workers report them, checked and typed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch of one phase.

    Attributes:
        phase: name of the phase.
        epoch: 1-based within the phase.
        loss: mean training loss over the epoch, regularisation by dropout and augmentation included.
        score: the figure beside the loss (such as accuracy) over the epoch's training; higher is better.
        val_loss: validation loss after the epoch.
        val_score: the figure beside the loss on validation data after the epoch.
        learning_rate: at the end of the epoch.
        seconds: how long it took.
        examples_per_s: training examples a second.
    """

    phase: str
    epoch: int
    loss: float
    score: float | None = None
    val_loss: float | None = None
    val_score: float | None = None
    learning_rate: float | None = None
    seconds: float | None = None
    examples_per_s: float | None = None

    def as_dict(self, score: str = "accuracy") -> dict[str, Any]:
        """The record as plain values, with the keys the workers use.

        Args:
            score: name of the figure beside the loss.
        """
        names = {"score": score, "val_score": f"val_{score}"}
        return {names.get(key, key): value for key, value in vars(self).items()}


def read_history(records: Sequence[Mapping[str, Any]], score: str = "accuracy") -> tuple[EpochRecord, ...]:
    """Type the workers' records; where a resumed run repeated an epoch, the last record of it counts.

    Args:
        records: mappings with `phase`, `epoch`, `loss` and any of the other attributes; further keys are left alone.
        score: name of the figure beside the loss.
    """
    fields = EpochRecord.__dataclass_fields__
    names = {score: "score", f"val_{score}": "val_score"}
    by_epoch: dict[tuple[str, int], EpochRecord] = {}
    for record in records:
        known = {names.get(key, key): value for key, value in record.items() if names.get(key, key) in fields}
        typed = EpochRecord(**known)
        by_epoch[typed.phase, typed.epoch] = typed
    return tuple(by_epoch.values())


def by_phase(history: Sequence[EpochRecord]) -> dict[str, tuple[EpochRecord, ...]]:
    """The records of each phase, phases and epochs in the order they ran."""
    phases: dict[str, list[EpochRecord]] = {}
    for record in history:
        phases.setdefault(record.phase, []).append(record)
    return {phase: tuple(sorted(records, key=lambda record: record.epoch)) for phase, records in phases.items()}
