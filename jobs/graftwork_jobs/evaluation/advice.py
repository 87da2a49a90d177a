"""What to try against a finding, in terms of spec fields; what the spec already does is not proposed again. Pure."""

from __future__ import annotations

from graftwork.spec.fine_tune_job import FineTuneJobSpec
from graftwork.spec.tasks import input_kind

# Usual strengths, not optima: dropout 0.3 and 0.5 are the values of Srivastava et al. 2014 (JMLR 15) for dense layers;
# label smoothing 0.1 is that of Szegedy et al. 2016 (arXiv:1512.00567); weight decay 1e-4 that of the ResNet paper
# (arXiv:1512.03385).
_DROPOUTS = (0.3, 0.5)
_WEIGHT_DECAY = 1e-4
_LABEL_SMOOTHING = 0.1
_CLIP_NORM = 1.0


def against_overfitting(spec: FineTuneJobSpec | None, phase: str) -> tuple[str, ...]:
    """Hold back: stop sooner, more noise, fewer free parameters, more examples."""
    advice = []
    if spec is None or spec.training.early_stopping is None:
        advice.append("training.earlyStopping {patience: 3}")
    if _takes_pictures(spec) and (spec is None or not spec.augment):
        advice.append("augment with flip, rotate and zoom, as far as they keep the class")
    if (dropout := _next_dropout(spec)) is not None:
        advice.append(f"head.dropout {dropout:g}")
    if spec is None or _unfrozen(spec, phase):
        advice.append(f"fewer unfrozen layers in phase {phase} (phases[].unfreeze) or a lower learningRate")
    if spec is None or spec.training.weight_decay < _WEIGHT_DECAY:
        advice.append(f"training.weightDecay {_WEIGHT_DECAY:g} with optimizer adamw")
    advice.append("more training examples (data.train)")
    return tuple(advice)


def against_underfitting(spec: FineTuneJobSpec | None, phase: str) -> tuple[str, ...]:
    """Let go: more free parameters, larger steps, a larger input."""
    advice = []
    if spec is None or not _everything_unfrozen(spec):
        advice.append("unfreeze more of the backbone in a last phase (phases[].unfreeze {fraction: 0.5} or all)")
    advice.append(f"a learningRate three times as high in phase {phase}")
    if spec is None or not spec.head.hidden:
        advice.append("a hidden layer (head.hidden [256])")
    if spec is None or spec.head.dropout > 0:
        advice.append("less head.dropout")
    advice.append("a larger input.imageSize or a larger backbone" if _takes_pictures(spec) else "a larger backbone")
    return tuple(advice)


def against_stagnation(spec: FineTuneJobSpec | None) -> tuple[str, ...]:
    """Nothing was learned: the rate is far off, or the data says nothing."""
    advice = ["a phases[].learningRate ten times lower and one ten times higher"]
    if spec is not None and spec.backbone.weights == "none":
        advice.append("backbone.weights imagenet instead of none")
    if spec is None or spec.backbone.preprocessing != "auto":
        advice.append("backbone.preprocessing auto")
    advice.append("a look at the examples and labels of data.train: do they belong together?")
    return tuple(advice)


def against_instability(spec: FineTuneJobSpec | None, phase: str) -> tuple[str, ...]:
    """Smaller steps."""
    advice = [f"a learningRate ten times lower in phase {phase}"]
    if spec is None or spec.training.gradient_clip_norm is None:
        advice.append(f"training.gradientClipNorm {_CLIP_NORM:g}")
    if spec is None or not _has_warmup(spec, phase):
        advice.append(f"warmupEpochs 1 in phase {phase}")
    if spec is not None and spec.training.mixed_precision == "bfloat16":
        advice.append("training.mixedPrecision none")
    return tuple(advice)


def against_too_few_epochs(epochs: int, phase: str) -> tuple[str, ...]:
    """Go on for longer, and let the validation data say when to end."""
    return (f"epochs {epochs * 2} with training.earlyStopping {{patience: 3}} in phase {phase}",)


def for_the_score(key: str) -> tuple[str, ...]:
    """Keep the epoch with the best answers rather than the one with the lowest loss."""
    return (f"training.earlyStopping {{monitor: val_{key}}}, if the answers count more than how sure they are",)


def against_imbalance(spec: FineTuneJobSpec | None) -> tuple[str, ...]:
    """Give rare classes more weight."""
    balanced = spec is not None and spec.training.class_weights == "balanced"
    collect = "more training examples of these classes (data.train)"
    return (collect,) if balanced else ("training.classWeights balanced", collect)


def against_overconfidence(spec: FineTuneJobSpec | None) -> tuple[str, ...]:
    """Softer targets."""
    advice = []
    if spec is None or spec.training.label_smoothing < _LABEL_SMOOTHING:
        advice.append(f"training.labelSmoothing {_LABEL_SMOOTHING:g}")
    advice.append("a threshold chosen on data of your own before acting on a score")
    return tuple(advice)


AGAINST_FLATTERY = (
    "a look for near-copies of training examples in data.validation (frames of one film, crops of one photo)",
    "a data.validation.uri of its own that resembles the test data",
    "a larger data.validation.fraction",
)
"""A validation set that is easier than the test set."""


def against_leak(name: str, spec: FineTuneJobSpec | None) -> tuple[str, ...]:
    """Test on what was not learnt."""
    removed = (
        "the examples that both have removed from {} or from data.train and data.validation (graft plan names some)"
    )
    if name != "test":
        return (removed.format(f"{name} (data.extraTests)"),)
    share = ("a data.test.fraction, which shares no example with the training data",)
    return (removed.format("data.test"), *(share if spec is None or spec.data.test.uri is not None else ()))


def against_other_domain(name: str, spec: FineTuneJobSpec | None) -> tuple[str, ...]:
    """Cover what differs, or keep more of what the backbone knows."""
    stronger = "stronger augment (contrast, brightness, zoom, rotate) that covers the difference"
    return (
        f"some examples like those of {name} in data.train",
        *([stronger] if _takes_pictures(spec) else []),
        "fewer unfrozen layers (phases[].unfreeze), which keeps more of what the backbone knows",
    )


def _next_dropout(spec: FineTuneJobSpec | None) -> float | None:
    present = 0.0 if spec is None else spec.head.dropout
    return next((dropout for dropout in _DROPOUTS if dropout > present), None)


def _takes_pictures(spec: FineTuneJobSpec | None) -> bool:
    return spec is None or input_kind(spec.task) == "image"


def _unfrozen(spec: FineTuneJobSpec, phase: str) -> bool:
    return any(entry.unfreeze != "none" for entry in spec.phases if entry.name == phase)


def _everything_unfrozen(spec: FineTuneJobSpec) -> bool:
    return any(entry.unfreeze == "all" for entry in spec.phases)


def _has_warmup(spec: FineTuneJobSpec, phase: str) -> bool:
    return any(entry.warmup_epochs > 0 for entry in spec.phases if entry.name == phase)
