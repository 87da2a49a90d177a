"""From a job and its data to the object that knows all about what is predicted."""

from __future__ import annotations

from graftwork.spec.fine_tune_job import FineTuneJobSpec
from graftwork.spec.tasks import target_kind
from graftwork_jobs.data.index import DatasetIndex
from graftwork_jobs.targets.base import Target, Targets


def make_target(spec: FineTuneJobSpec, index: DatasetIndex) -> Target:
    """The target of a job. Depends on spec and index alone, so it is the same in every process."""
    return _named(spec, index.labels, index.splits["train"].targets)


def _named(spec: FineTuneJobSpec, names: tuple[str, ...], training: Targets) -> Target:
    match target_kind(spec.task):
        case "classes":
            from graftwork_jobs.targets.classes import ClassTarget

            return ClassTarget(
                names,
                label_smoothing=spec.training.label_smoothing,
                focal_gamma=spec.training.focal_gamma,
                calibrates=spec.evaluation.calibration == "temperature",
                threshold=spec.evaluation.threshold,
            )
        case "multilabel":
            from graftwork_jobs.targets.labels import LabelTarget

            return LabelTarget(
                names,
                training,
                balanced=spec.training.class_weights == "balanced",
                label_smoothing=spec.training.label_smoothing,
                focal_gamma=spec.training.focal_gamma,
                calibrates=spec.evaluation.calibration == "temperature",
            )
        case "numbers":
            from graftwork_jobs.targets.regression import NumberTarget

            match spec.training.loss:
                case "mae" | "huber" as loss:
                    return NumberTarget(names, training, loss=loss)
                case _:
                    return NumberTarget(names, training)
        case "levels":
            from graftwork_jobs.targets.levels import LevelTarget

            return LevelTarget(names, calibrates=spec.evaluation.calibration == "temperature")
