"""What a task's name says: what the model takes, and what it is to find. Pure.

The two are independent: code that branches on one leaves the other alone.
"""

from __future__ import annotations

from typing import Literal

Task = Literal[
    "image-classification",
    "text-classification",
    "image-multilabel-classification",
    "text-multilabel-classification",
    "image-regression",
    "text-regression",
    "image-ordinal-classification",
    "text-ordinal-classification",
]
"""What a model is to do; every one of these works end to end."""

InputKind = Literal["image", "text"]
"""What the model takes."""

INPUT_COLUMNS: dict[InputKind, str] = {"image": "path", "text": "text"}
"""The column of a table that holds the inputs, unless another one is named."""

TargetKind = Literal["classes", "multilabel", "numbers", "levels"]
"""What it is to find: one class of several, any number of labels, numbers, or one level of an order."""

NAMES_ARE: dict[TargetKind, str] = {
    "classes": "classes",
    "multilabel": "labels",
    "numbers": "numbers",
    "levels": "levels",
}
"""What the names of the model's outputs are names of."""

_TARGETS: dict[str, TargetKind] = {
    "classification": "classes",
    "multilabel-classification": "multilabel",
    "regression": "numbers",
    "ordinal-classification": "levels",
}


def input_kind(task: str) -> InputKind:
    """What a task's model takes."""
    return "text" if task.partition("-")[0] == "text" else "image"


def target_kind(task: str) -> TargetKind:
    """What a task's model is to find."""
    return _TARGETS[task.partition("-")[2]]
