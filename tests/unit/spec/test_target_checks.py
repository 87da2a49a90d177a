"""Sections of a job have to go with what its task predicts."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork_jobs.evaluation.gates import GateFacts, check_gates
from tests.unit.spec.examples import JOB, changed, without

_NUMBERS = changed(
    changed(
        changed(
            without(without(JOB, ("spec", "training", "classWeights")), ("spec", "training", "earlyStopping")),
            ("spec", "task"),
            "image-regression",
        ),
        ("spec", "data", "targetColumns"),
        ["a", "b"],
    ),
    ("spec", "evaluation", "gates"),
    [{"metric": "mae", "max": 3.5}, {"metric": "rmse", "notWorseThan": "champion"}],
)

_SPACE = {"head.dropout": {"choice": [0.1, 0.2]}}


def test_a_regression_with_its_own_metrics_is_valid() -> None:
    """Columns, loss, gates and monitor of numbers."""
    job = changed(_NUMBERS, ("spec", "training", "loss"), "huber")
    job = changed(job, ("spec", "training", "earlyStopping"), {"monitor": "val_r2"})
    assert FineTuneJob.model_validate(job).spec.data.target_columns == ["a", "b"]


@pytest.mark.parametrize(
    ("base", "path", "value", "said"),
    [
        (JOB, ("spec", "data", "targetColumns"), ["a"], "classes are in `labelColumn`"),
        (JOB, ("spec", "data", "labelSeparator"), ";", "`;` in a job of image-classification"),
        (_NUMBERS, ("spec", "training", "loss"), {"focal": {"gamma": 2}}, "`focal` in a job of image-regression"),
        (JOB, ("spec", "training", "loss"), "mae", "`mae` in a job of image-classification"),
        (JOB, ("spec", "evaluation", "gates"), [{"metric": "r2", "min": 0.5}], "`r2` in a job"),
        (_NUMBERS, ("spec", "data", "targetColumns"), None, "no `targetColumns`"),
        (_NUMBERS, ("spec", "data", "targetColumns"), ["a", "a"], "stands there already"),
        (_NUMBERS, ("spec", "training", "earlyStopping"), {"monitor": "val_accuracy"}, "val_loss or val_r2"),
        (_NUMBERS, ("spec", "search"), {"space": _SPACE, "metric": "val_accuracy"}, "val_loss or val_r2"),
        (JOB, ("spec", "search"), {"space": _SPACE, "metric": "val_f1_macro"}, "val_loss or val_accuracy"),
        (_NUMBERS, ("spec", "training", "labelSmoothing"), 0.1, "0.1 in a job of image-regression"),
        (_NUMBERS, ("spec", "training", "classWeights"), "balanced", "`balanced` in a job"),
        (_NUMBERS, ("spec", "evaluation", "gates"), [{"metric": "accuracy", "min": 0.5}], "r2, mae, rmse"),
        (_NUMBERS, ("spec", "evaluation", "gates"), [{"metric": "r2", "min": 1.5}], "r2 <= 1"),
        (_NUMBERS, ("spec", "evaluation", "gates"), [{"metric": "mae", "max": -1}], "mae >= 0"),
        (JOB, ("spec", "evaluation", "gates"), [{"metric": "ece", "max": 5}], "a share from 0 to 1, as ece is"),
        (_NUMBERS, ("spec", "evaluation", "calibration"), "temperature", "`temperature` in a job of image-regression"),
        (_NUMBERS, ("spec", "evaluation", "threshold"), {"maximize": "f1"}, "a threshold in a job"),
    ],
)
def test_what_does_not_go_with_the_task_is_refused(
    base: dict[str, Any], path: tuple[str, ...], value: Any, said: str
) -> None:
    """Each with what would go."""
    with pytest.raises(ValidationError) as caught:
        FineTuneJob.model_validate(changed(base, path, value))
    assert said in str(caught.value)


def test_errors_must_be_low_to_be_no_worse_than_the_champion() -> None:
    """A gate knows that a lower error is better, and a higher R2."""
    gates = FineTuneJob.model_validate(_NUMBERS).spec.evaluation.gates
    results = check_gates(gates, GateFacts(metrics={"mae": 3.0, "rmse": 5.0}, stored={"champion": {"rmse": 4.0}}))
    assert [result.passed for result in results] == [True, False]


_LEVELS = changed(
    changed(without(JOB, ("spec", "evaluation", "gates")), ("spec", "task"), "image-ordinal-classification"),
    ("spec", "data", "labelOrder"),
    ["poor", "fair", "good"],
)


def test_an_ordinal_job_with_its_own_metrics_is_valid() -> None:
    """Order, gates on distances, class weights."""
    gates = [{"metric": "mae", "max": 0.5}, {"metric": "quadratic_kappa", "min": -0.2}]
    job = FineTuneJob.model_validate(changed(_LEVELS, ("spec", "evaluation", "gates"), gates))
    assert job.spec.data.label_order == ["poor", "fair", "good"]


@pytest.mark.parametrize(
    ("base", "path", "value", "said"),
    [
        (JOB, ("spec", "data", "labelOrder"), ["a", "b", "c"], "classes have no order"),
        (JOB, ("spec", "task"), "text-ordinal-classification", "no `labelOrder`"),
        (_LEVELS, ("spec", "data", "labelOrder"), ["a", "b"], "at least 3 items"),
        (_LEVELS, ("spec", "data", "labelOrder"), ["a", "b", "a"], "each label once"),
        (_LEVELS, ("spec", "training", "labelSmoothing"), 0.1, "`?0.1`? in a job of image-ordinal"),
        (_LEVELS, ("spec", "training", "loss"), {"focal": {}}, "`focal` in a job of image-ordinal"),
        (_LEVELS, ("spec", "evaluation", "gates"), [{"metric": "top5_accuracy", "min": 0.5}], "one of accuracy, mae"),
        (_LEVELS, ("spec", "evaluation", "gates"), [{"metric": "quadratic_kappa", "min": -2}], "-2"),
    ],
)
def test_what_does_not_go_with_levels_is_refused(
    base: dict[str, Any], path: tuple[str, ...], value: Any, said: str
) -> None:
    """Each in one way."""
    with pytest.raises(ValidationError, match=said):
        FineTuneJob.model_validate(changed(base, path, value))
