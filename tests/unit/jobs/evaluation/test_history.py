from __future__ import annotations

from graftwork_jobs.evaluation.history import by_phase, read_history


def test_a_repeated_epoch_counts_once_with_its_last_record() -> None:
    """A run that was resumed reports an epoch twice; the later record is the one that led to the result."""
    records = [
        {"phase": "head", "epoch": 1, "loss": 2.0, "extra": "ignored"},
        {"phase": "head", "epoch": 2, "loss": 1.5},
        {"phase": "head", "epoch": 2, "loss": 1.4},
    ]
    assert [(record.epoch, record.loss) for record in read_history(records)] == [(1, 2.0), (2, 1.4)]


def test_phases_keep_their_order_and_epochs_are_sorted() -> None:
    """Phases stand in the order they ran, epochs by number."""
    records = [
        {"phase": "tune", "epoch": 2, "loss": 1.0},
        {"phase": "tune", "epoch": 1, "loss": 1.1},
        {"phase": "again", "epoch": 1, "loss": 0.9},
    ]
    phases = by_phase(read_history(records))
    assert {name: [record.epoch for record in epochs] for name, epochs in phases.items()} == {
        "tune": [1, 2],
        "again": [1],
    }
    assert list(phases) == ["tune", "again"]
