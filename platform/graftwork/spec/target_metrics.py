"""Which figures there are for each kind of target, and what values they can take. Pure."""

from __future__ import annotations

from typing import Final, Literal

from graftwork.spec.tasks import TargetKind

Metric = Literal[
    "accuracy",
    "top5_accuracy",
    "precision_macro",
    "recall_macro",
    "f1_macro",
    "f1_micro",
    "map",
    "exact_match",
    "auc_macro",
    "loss",
    "ece",
    "r2",
    "mae",
    "rmse",
    "within_one",
    "quadratic_kappa",
]
"""A test metric that a gate can look at."""

Monitor = Literal["val_loss", "val_accuracy", "val_f1_macro", "val_r2"]
"""A validation figure that can steer training."""

TEST_METRICS: Final[dict[TargetKind, tuple[Metric, ...]]] = {
    "classes": ("accuracy", "top5_accuracy", "precision_macro", "recall_macro", "f1_macro", "auc_macro", "loss", "ece"),
    "multilabel": ("f1_macro", "f1_micro", "map", "precision_macro", "recall_macro", "exact_match", "loss", "ece"),
    "numbers": ("r2", "mae", "rmse"),
    "levels": (
        "accuracy",
        "mae",
        "within_one",
        "quadratic_kappa",
        "precision_macro",
        "recall_macro",
        "f1_macro",
        "auc_macro",
        "loss",
        "ece",
    ),
}
"""What a test set is judged by, for each kind of target."""

SCORES: Final[dict[TargetKind, str]] = {
    "classes": "accuracy",
    "multilabel": "f1_macro",
    "numbers": "r2",
    "levels": "accuracy",
}
"""The epoch figure beside the loss, for each kind of target; higher is better."""

LOWER_IS_BETTER: Final = frozenset({"loss", "ece", "mae", "rmse"})
"""Test metrics that should be low; all others should be high."""

RANGES: Final[dict[str, tuple[float, float]]] = {
    **dict.fromkeys(("loss", "mae", "rmse"), (0.0, float("inf"))),
    "r2": (float("-inf"), 1.0),
    "quadratic_kappa": (-1.0, 1.0),
}
"""Lowest and highest value of metrics that are no shares from 0 to 1."""
