"""Which fields of the spec to change against a finding, and why. Pure; whether a spec may be so is asked elsewhere.

The same remedies as `graftwork_jobs.evaluation.advice` tells in words, as far as a program can carry them out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from graftwork.spec.fine_tune_job import Augment, FineTuneJobSpec, Lora, Phase, Unfreeze
from graftwork.spec.target_metrics import SCORES
from graftwork.spec.tasks import input_kind, target_kind

# Strengths as in `advice`, which names their sources.
_DROPOUTS = (0.3, 0.5)
_WEIGHT_DECAY = 1e-4
_LABEL_SMOOTHING = 0.1
_CLIP_NORM = 1.0
_PATIENCE = 3
_HIDDEN = [256]
_HIGHEST_RATE = 10.0
_LARGEST_VALIDATION = 0.3
# Changes of pictures that hardly ever change their class; a flip does (digits, letters, left and right).
_GENTLE: Final = ({"rotate": 0.05}, {"zoom": 0.1}, {"contrast": 0.1})
_OTHER_CAMERA: Final = ({"contrast": 0.2}, {"brightness": 0.2}, {"zoom": 0.2})


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """One change.

    Attributes:
        path: below `spec`, as in a search space.
        value: what to set.
        reason: what that does, in one sentence.
    """

    path: str
    value: Any
    reason: str


def remedies(code: str, phase: str | None, spec: FineTuneJobSpec) -> list[Remedy]:
    """What to change against a finding, the most promising first; nothing where only a person can help.

    Args:
        code: of the finding.
        phase: it was found in, if in one.
        spec: of the run.
    """
    found = _BY_CODE.get(code)
    if found is None:
        return []
    own = next((entry for entry in spec.phases if entry.name == phase), spec.phases[-1])
    return list(found(spec, own))


def is_for_a_person(code: str) -> bool:
    """Whether no change of the spec helps against a finding: its examples or their labels are to be looked at."""
    return code not in _BY_CODE


def _instability(spec: FineTuneJobSpec, phase: Phase) -> Iterator[Remedy]:
    yield _rate(phase, 0.1, "steps ten times smaller do not overshoot")
    if spec.training.gradient_clip_norm is None:
        yield Remedy(
            path="training.gradientClipNorm", value=_CLIP_NORM, reason="one odd batch cannot throw the weights far off"
        )
    if phase.warmup_epochs == 0:
        yield Remedy(
            path=f"phases.{phase.name}.warmupEpochs",
            value=1,
            reason="the first steps, when the new layers know nothing, are the most violent",
        )


def _stagnation(spec: FineTuneJobSpec, phase: Phase) -> Iterator[Remedy]:
    if spec.backbone.preprocessing != "auto":
        yield Remedy(
            path="backbone.preprocessing",
            value="auto",
            reason="the backbone must see inputs scaled as those it was trained on",
        )
    if spec.backbone.weights == "none":
        yield Remedy(path="backbone.weights", value="imagenet", reason="random weights learn nothing from few examples")
    if spec.search is None:
        low, high = phase.learning_rate / 30, min(phase.learning_rate * 30, _HIGHEST_RATE)
        space = {f"phases.{phase.name}.learningRate": {"logUniform": [_short(low), _short(high)]}}
        yield Remedy(
            path="search",
            value={"space": space, "trials": 8},
            reason="the learning rate is far off, and the curves do not say in which direction",
        )


def _overfitting(spec: FineTuneJobSpec, phase: Phase) -> Iterator[Remedy]:
    takes_pictures = input_kind(spec.task) == "image"
    yield from _stopping(spec, phase.epochs, "training ends when the validation data shows no more progress")
    dropout = next((value for value in _DROPOUTS if value > spec.head.dropout), None)
    if dropout is not None:
        yield Remedy(path="head.dropout", value=dropout, reason="the head cannot rely on single features")
    if takes_pictures and not spec.augment:
        yield Remedy(
            path="augment", value=[dict(entry) for entry in _GENTLE], reason="no picture is seen twice the same way"
        )
    if phase.unfreeze != "none":
        yield _rate(phase, 1 / 3, "unfrozen layers move less far from what they know")
    if spec.training.weight_decay < _WEIGHT_DECAY:
        yield Remedy(path="training.weightDecay", value=_WEIGHT_DECAY, reason="large weights, which memorise, cost")


def _underfitting(spec: FineTuneJobSpec, phase: Phase) -> Iterator[Remedy]:
    yield from _more_layers(spec, phase)
    if spec.head.dropout > 0:
        yield Remedy(path="head.dropout", value=0.0, reason="there is nothing to hold back yet")
    if not spec.head.hidden:
        yield Remedy(path="head.hidden", value=list(_HIDDEN), reason="a hidden layer separates more than a plane does")
    yield _rate(phase, 3.0, "larger steps get further in the same time")


def _more_layers(spec: FineTuneJobSpec, phase: Phase) -> Iterator[Remedy]:
    """Let more of the backbone train: a wider last phase, or one more if none trains it yet."""
    path = f"phases.{phase.name}.unfreeze"
    match phase.unfreeze:
        case Unfreeze(fraction=float(share)):
            value: Any = {"fraction": share * 2} if share * 2 < 1 else "all"
            yield Remedy(path=path, value=value, reason="more layers may adapt to the data")
        case Unfreeze(last_layers=int(layers)):
            yield Remedy(path=path, value={"lastLayers": layers * 2}, reason="more layers may adapt to the data")
        case "lora" | Unfreeze(lora=Lora()):
            reason = "adapters reach less far than the layers themselves"
            yield Remedy(path=path, value="all", reason=reason)
        case "none" if all(entry.unfreeze == "none" for entry in spec.phases):
            names = {entry.name for entry in spec.phases}
            name = next(each for each in ("tune", "fine-tune", *(f"tune-{n}" for n in range(99))) if each not in names)
            further = {
                "name": name,
                "epochs": phase.epochs,
                "unfreeze": {"fraction": 0.3},
                "learningRate": _short(phase.learning_rate / 10),
            }
            kept = [entry.model_dump(mode="json", by_alias=True, exclude_unset=True) for entry in spec.phases]
            yield Remedy(path="phases", value=[*kept, further], reason="the upper layers may adapt to the data, too")
        case _:
            return


def _too_few_epochs(spec: FineTuneJobSpec, phase: Phase) -> Iterator[Remedy]:
    yield Remedy(
        path=f"phases.{phase.name}.epochs", value=phase.epochs * 2, reason="the phase ended while still improving"
    )
    yield from _stopping(spec, phase.epochs * 2, "with more epochs the validation data says when to end")


def _plateau(spec: FineTuneJobSpec, phase: Phase) -> Iterator[Remedy]:
    yield from _stopping(spec, phase.epochs, "epochs that change nothing are time lost")


def _higher_score(spec: FineTuneJobSpec, phase: Phase) -> Iterator[Remedy]:
    monitor = f"val_{SCORES[target_kind(spec.task)]}"
    reason = "the epoch with the best answers is kept, rather than the one with the lowest loss"
    if spec.training.early_stopping is None:
        stopping = {"monitor": monitor, "patience": phase.epochs}
        yield Remedy(path="training.earlyStopping", value=stopping, reason=reason)
    else:
        yield Remedy(path="training.earlyStopping.monitor", value=monitor, reason=reason)


def _imbalance(spec: FineTuneJobSpec, phase: Phase) -> Iterator[Remedy]:
    if spec.training.class_weights == "none":
        yield Remedy(
            path="training.classWeights", value="balanced", reason="rare classes count as much as frequent ones"
        )


def _overconfidence(spec: FineTuneJobSpec, phase: Phase) -> Iterator[Remedy]:
    if spec.training.label_smoothing < _LABEL_SMOOTHING:
        yield Remedy(
            path="training.labelSmoothing",
            value=_LABEL_SMOOTHING,
            reason="targets short of certainty give modest scores",
        )


def _other_domain(spec: FineTuneJobSpec, phase: Phase) -> Iterator[Remedy]:
    if input_kind(spec.task) != "image":
        return
    present = [entry.model_dump(mode="json", by_alias=True, exclude_none=True) for entry in spec.augment]
    keys = {key for entry in present for key in entry}
    added = [dict(entry) for entry in _OTHER_CAMERA if not keys & set(entry)]
    if added:
        yield Remedy(
            path="augment",
            value=sorted([*present, *added], key=lambda entry: Augment.model_validate(entry).mixes),
            reason="the differences of the other examples become part of training",
        )


def _flattering(spec: FineTuneJobSpec, phase: Phase) -> Iterator[Remedy]:
    share = spec.data.validation.fraction
    if share is not None and share < _LARGEST_VALIDATION:
        yield Remedy(
            path="data.validation.fraction",
            value=_short(min(2 * share, _LARGEST_VALIDATION)),
            reason="on more examples the validation figures are less a matter of luck",
        )


def _stopping(spec: FineTuneJobSpec, epochs: int, reason: str) -> Iterator[Remedy]:
    """Early stopping that can still come within so many epochs."""
    if spec.training.early_stopping is None:
        patience = min(_PATIENCE, max(1, epochs - 2))
        yield Remedy(path="training.earlyStopping", value={"patience": patience}, reason=reason)


def _rate(phase: Phase, factor: float, reason: str) -> Remedy:
    rate = _short(min(phase.learning_rate * factor, _HIGHEST_RATE))
    return Remedy(path=f"phases.{phase.name}.learningRate", value=rate, reason=reason)


def _short(value: float) -> float:
    """Two digits: more would feign precision."""
    return float(f"{value:.2g}")


_BY_CODE: Final[dict[str, Callable[[FineTuneJobSpec, Phase], Iterator[Remedy]]]] = {
    "not_a_number": _instability,
    "unstable": _instability,
    "nothing_learned": _stagnation,
    "overfitting": _overfitting,
    "underfitting": _underfitting,
    "too_few_epochs": _too_few_epochs,
    "plateau": _plateau,
    "higher_score": _higher_score,
    "class_imbalance": _imbalance,
    "overconfident": _overconfidence,
    "other_domain": _other_domain,
    "validation_above_test": _flattering,
}
