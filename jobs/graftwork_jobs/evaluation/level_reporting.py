"""How results on levels of an order are told: as a classifier's, with how far answers are off."""

from __future__ import annotations

from collections.abc import Mapping

from graftwork_jobs.evaluation.class_reporting import ClassReporting


class LevelReporting(ClassReporting):
    """One level of an order."""

    second = "mae"
    details = "Levels and calibration"
    titles: Mapping[str, str] = {
        "accuracy": "Accuracy",
        "mae": "Mean distance in levels",
        "within_one": "At most one level off",
        "quadratic_kappa": "Kappa, quadratic weights",
        **{key: title for key, title in ClassReporting.titles.items() if key not in {"accuracy", "top5_accuracy"}},
    }
