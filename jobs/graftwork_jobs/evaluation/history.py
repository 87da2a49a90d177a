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
        accuracy: training accuracy over the epoch, 0..1.
        val_loss: validation loss after the epoch.
        val_accuracy: validation accuracy after the epoch, 0..1.
        learning_rate: at the end of the epoch.
        seconds: how long it took.
        examples_per_s: training examples a second.
    """

    phase: str
    epoch: int
    loss: float
    accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    learning_rate: float | None = None
    seconds: float | None = None
    examples_per_s: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The record as plain values, with the keys the workers use."""
        return vars(self).copy()


def read_history(records: Sequence[Mapping[str, Any]]) -> tuple[EpochRecord, ...]:
    """Type the workers' records; where a resumed run repeated an epoch, the last record of it counts.

    Args:
        records: mappings with `phase`, `epoch`, `loss` and any of the other attributes; further keys are left alone.
    """
    fields = EpochRecord.__dataclass_fields__
    by_epoch: dict[tuple[str, int], EpochRecord] = {}
    for record in records:
        known = {key: value for key, value in record.items() if key in fields}
        typed = EpochRecord(**known)
        by_epoch[typed.phase, typed.epoch] = typed
    return tuple(by_epoch.values())


def by_phase(history: Sequence[EpochRecord]) -> dict[str, tuple[EpochRecord, ...]]:
    """The records of each phase, phases and epochs in the order they ran."""
    phases: dict[str, list[EpochRecord]] = {}
    for record in history:
        phases.setdefault(record.phase, []).append(record)
    return {phase: tuple(sorted(records, key=lambda record: record.epoch)) for phase, records in phases.items()}
