"""What a job's sections may say depends on the kind of its target: the checks across sections. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graftwork.spec.base import Inconsistency
from graftwork.spec.job_data import Data
from graftwork.spec.target_metrics import SCORES, TEST_METRICS
from graftwork.spec.tasks import TargetKind, target_kind

if TYPE_CHECKING:
    from graftwork.spec.fine_tune_job import FineTuneJobSpec

_LOSSES: dict[TargetKind, tuple[str, ...]] = {
    "classes": ("auto", "focal"),
    "multilabel": ("auto", "focal"),
    "numbers": ("auto", "mse", "mae", "huber"),
    "levels": ("auto",),
}


def target_inconsistencies(spec: FineTuneJobSpec) -> list[Inconsistency]:
    """Everything that does not go with what the task predicts."""
    kind = target_kind(spec.task)
    checks = (_columns, _order, _gates, _settled, _monitors, _training)
    return [each for check in checks for each in check(spec, kind)]


def _columns(spec: FineTuneJobSpec, kind: TargetKind) -> list[Inconsistency]:
    given, found = spec.data.target_columns is not None, []
    separates = spec.data.label_separator != Data.model_fields["label_separator"].default
    if separates and (kind != "multilabel" or given):
        found.append(
            _out_of_place(
                spec,
                ("data", "labelSeparator"),
                f"`{spec.data.label_separator}`",
                "nothing: it parts the labels in one column of a multi-label task",
            )
        )
    if kind == "multilabel" or given == (kind == "numbers"):
        return found
    if given:
        words = "nothing: classes are in `labelColumn`"
        return [*found, _out_of_place(spec, ("data", "targetColumns"), "column names", words)]
    return [
        *found,
        Inconsistency(
            at=("data",),
            received="no `targetColumns`",
            expected=f"the columns with the numbers to predict, as the task is {spec.task}",
            fix="Add data.targetColumns: [COLUMN, ...] and tables (CSV, Parquet) that have them.",
            involves=(("task",),),
        ),
    ]


def _order(spec: FineTuneJobSpec, kind: TargetKind) -> list[Inconsistency]:
    given = spec.data.label_order is not None
    if given == (kind == "levels"):
        return []
    if given:
        return [_out_of_place(spec, ("data", "labelOrder"), "an order of labels", "nothing: classes have no order")]
    return [
        Inconsistency(
            at=("data",),
            received="no `labelOrder`",
            expected=f"the labels from the lowest to the highest, as the task is {spec.task}",
            fix="Add data.labelOrder: [LOWEST, ..., HIGHEST].",
            involves=(("task",),),
        )
    ]


def _gates(spec: FineTuneJobSpec, kind: TargetKind) -> list[Inconsistency]:
    known = TEST_METRICS[kind]
    return [
        _out_of_place(
            spec, ("evaluation", "gates", position, "metric"), f"`{gate.metric}`", f"one of {', '.join(known)}"
        )
        for position, gate in enumerate(spec.evaluation.gates)
        if gate.metric not in known
    ]


def _settled(spec: FineTuneJobSpec, kind: TargetKind) -> list[Inconsistency]:
    """What is chosen on validation data, where there is no such choice."""
    evaluation, found = spec.evaluation, []
    if evaluation.calibration != "none" and kind == "numbers":
        found.append(_out_of_place(spec, ("evaluation", "calibration"), f"`{evaluation.calibration}`", "`none`"))
    if evaluation.threshold is not None and kind != "classes":
        words = "nothing: each label has its threshold already" if kind == "multilabel" else "nothing"
        found.append(_out_of_place(spec, ("evaluation", "threshold"), "a threshold", words))
    return found


def _monitors(spec: FineTuneJobSpec, kind: TargetKind) -> list[Inconsistency]:
    known = ("val_loss", f"val_{SCORES[kind]}")
    training, search = spec.training, spec.search
    watched: dict[tuple[str, ...], str] = {}
    if training.early_stopping is not None:
        watched["training", "earlyStopping", "monitor"] = training.early_stopping.monitor
    if training.reduce_on_plateau is not None:
        watched["training", "reduceOnPlateau", "monitor"] = training.reduce_on_plateau.monitor
    if search is not None:
        watched["search", "metric"] = search.metric
    return [
        _out_of_place(spec, at, f"`{figure}`", " or ".join(known))
        for at, figure in watched.items()
        if figure not in known
    ]


def _training(spec: FineTuneJobSpec, kind: TargetKind) -> list[Inconsistency]:
    training, found = spec.training, []
    if training.loss_name not in _LOSSES[kind]:
        found.append(
            _out_of_place(spec, ("training", "loss"), f"`{training.loss_name}`", f"one of {', '.join(_LOSSES[kind])}")
        )
    if kind in {"numbers", "levels"} and training.label_smoothing:
        found.append(_out_of_place(spec, ("training", "labelSmoothing"), f"{training.label_smoothing:g}", "0"))
    if kind == "numbers" and training.class_weights != "none":
        found.append(_out_of_place(spec, ("training", "classWeights"), f"`{training.class_weights}`", "`none`"))
    return found


def _out_of_place(spec: FineTuneJobSpec, at: tuple[str | int, ...], received: str, expected: str) -> Inconsistency:
    return Inconsistency(
        at=at,
        received=f"{received} in a job of {spec.task}",
        expected=expected,
        fix="Change it, or the task.",
        involves=(("task",),),
    )
