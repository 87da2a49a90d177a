"""A small job on texts that learns something, for either backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graftwork_jobs.events import read_events
from tests.support.tiny_bert import save_tiny_bert
from tests.support.tiny_texts import tiny_texts, write_table

_RATE = 0.01
TEXT_JOB: dict[str, Any] = {
    "task": "text-classification",
    "backbone": {"path": "bert"},
    "input": {"maxTokens": 16},
    "data": {"train": {"uri": "texts.csv"}, "validation": {"fraction": 0.2}, "test": {"fraction": 0.2}},
    "augment": [],
    "head": {"dropout": 0.0},
    "phases": [
        {"name": "head", "epochs": 2, "unfreeze": "none", "learningRate": _RATE},
        {"name": "adapt", "epochs": 20, "unfreeze": {"lora": {"rank": 2}}, "learningRate": _RATE},
    ],
    "training": {"batchSize": 8, "seed": 5},
    "scaling": {"workers": 2},
}


def write_texts(work: Path) -> None:
    """Put a tiny BERT and a table of texts beside the specs."""
    save_tiny_bert(work / "bert")
    write_table(work / "texts.csv", tiny_texts(160, seed=1))


def assert_adapters_learned(events_file: Path) -> None:
    """The loss fell by a fifth in their phase."""
    events = read_events(events_file)
    losses = [event["loss"] for event in events if event["kind"] == "epoch" and event["phase"] == "adapt"]
    assert losses[-1] < 0.8 * losses[0]
