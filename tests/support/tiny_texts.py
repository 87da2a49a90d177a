"""Texts in the words of the tiny BERT, good or bad."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

LABELS = ("bad", "good")
_OPINIONS = {"bad": ("bad", "awful", "poor", "boring"), "good": ("good", "great", "fine", "lovely")}
_SUBJECTS = ("the film", "a story", "the plot", "an actor", "the music")


def tiny_texts(size: int, *, seed: int) -> list[tuple[str, str]]:
    """Texts of different lengths, none of them twice, each with its label."""
    random = np.random.default_rng(seed)
    found: dict[str, str] = {}
    while len(found) < size:
        label = LABELS[len(found) % 2]
        clauses = [
            f"{random.choice(_SUBJECTS)} was {'very ' * int(random.integers(0, 3))}{random.choice(_OPINIONS[label])}"
            for _ in range(int(random.integers(1, 4)))
        ]
        found.setdefault(" and ".join(clauses), label)
    return list(found.items())


def write_table(file: Path, rows: list[tuple[str, str]]) -> None:
    """A CSV table with the columns `text` and `label`."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("text", "label"), *rows])
