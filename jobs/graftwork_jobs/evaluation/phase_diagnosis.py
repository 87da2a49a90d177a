"""What the epochs of each phase show: unstable, nothing learned, overfitting, underfitting, too few epochs. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from graftwork.spec.fine_tune_job import FineTuneJobSpec
from graftwork_jobs.evaluation import advice
from graftwork_jobs.evaluation.findings import Finding
from graftwork_jobs.evaluation.history import EpochRecord
from graftwork_jobs.evaluation.kinds import Guess
from graftwork_jobs.evaluation.uncertainty import SIGNIFICANT_ERRORS, beyond_chance, standard_error

# Losses are judged in shares of the loss of guessing, such as ln(classes), so that 2 and 1,000 classes are treated
# alike. Changes below one fiftieth of it are within what one shuffling of the data against another does.
LOSS_NOISE: Final = 0.02
# A rise of the validation loss by a tenth of its best value is visible in the curve at a glance.
OVERFITTING_RISE: Final = 0.10
# One epoch above the best may be chance; the loss has to stay up for two.
OVERFITTING_EPOCHS: Final = 2
# Training accuracy that many points above validation accuracy: the larger part of a tenth of the pictures was learned
# by heart. Also has to be beyond chance for the size of the validation set.
MEMORISING_GAP: Final = 0.10
# Agreement beyond chance (Cohen's kappa) above 0.6 is "substantial": Landis & Koch, Biometrics 33 (1977), 159-174.
SUBSTANTIAL_AGREEMENT: Final = 0.6
# A loss half as high again as the best so far, in a phase's last epoch, is no longer noise but divergence.
DIVERGENCE_RATIO: Final = 1.5
# A fall of the validation loss by a fiftieth in the last epoch promises a tenth within five more.
STILL_IMPROVING: Final = 0.02
# As many epochs as twice the default patience of early stopping.
PLATEAU_EPOCHS: Final = 6
# A score higher by less than this, or than one standard error, is no reason to prefer another epoch.
HIGHER_SCORE: Final = 0.03
_TREND_EPOCHS = 2
# A training loss lower by a tenth than that of guessing is beyond five times its noise.
_LEARNED_LOSS: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class _Phase:
    """One phase with what its judges need."""

    name: str
    epochs: tuple[EpochRecord, ...]
    kept: EpochRecord
    is_last: bool
    guess: Guess
    score: str
    score_key: str
    train_examples: int
    validation_examples: int
    spec: FineTuneJobSpec | None

    @property
    def noise(self) -> float:
        """Differences of the loss below this say nothing."""
        return LOSS_NOISE * self.guess.loss

    @property
    def last(self) -> EpochRecord:
        return self.epochs[-1]


def phase_findings(
    phases: Mapping[str, tuple[EpochRecord, ...]],
    *,
    kept_epochs: Mapping[str, int],
    guess: Guess,
    score: str,
    score_key: str,
    train_examples: int,
    validation_examples: int,
    spec: FineTuneJobSpec | None,
) -> list[Finding]:
    """Judge each phase on its own, in order.

    Args:
        phases: the epochs of each phase.
        kept_epochs: the epoch whose weights each phase ended with.
        guess: what guessing reaches.
        score: the figure beside the loss, in words.
        score_key: its key.
        train_examples: size of the training set; 0 when unknown.
        validation_examples: size of the validation set; 0 when unknown.
        spec: the job's spec, for the advice.
    """
    findings: list[Finding] = []
    for index, (name, epochs) in enumerate(phases.items()):
        kept = kept_epochs.get(name, epochs[-1].epoch)
        phase = _Phase(
            name=name,
            epochs=epochs,
            kept=next((record for record in epochs if record.epoch == kept), epochs[-1]),
            is_last=index == len(phases) - 1,
            guess=guess,
            score=score,
            score_key=score_key,
            train_examples=train_examples,
            validation_examples=validation_examples,
            spec=spec,
        )
        findings.extend(_judge(phase))
    return findings


def _judge(phase: _Phase) -> list[Finding]:
    """Causes before symptoms: what diverged or learned nothing is not called underfitted as well."""
    for judge in (_not_a_number, _diverged, _nothing_learned):
        if finding := judge(phase):
            return [finding]
    if finding := _overfitting(phase):
        return [finding]
    found = [_still_improving(phase) or _underfitting(phase), _plateau(phase), _higher_score(phase)]
    return [finding for finding in found if finding is not None]


def _not_a_number(phase: _Phase) -> Finding | None:
    for record in phase.epochs:
        for name, value in (("training", record.loss), ("validation", record.val_loss)):
            if value is not None and not math.isfinite(value):
                return Finding(
                    code="not_a_number",
                    severity="problem",
                    title=f"Phase {phase.name} broke down in epoch {record.epoch}",
                    evidence=f"The {name} loss was {value}{_at_rate(record)}.",
                    advice=advice.against_instability(phase.spec, phase.name),
                    phase=phase.name,
                )
    return None


def _diverged(phase: _Phase) -> Finding | None:
    best = min(phase.epochs, key=lambda record: record.loss)
    risen = phase.last.loss > DIVERGENCE_RATIO * best.loss and phase.last.loss - best.loss > 5 * phase.noise
    if not risen:
        return None
    return Finding(
        code="unstable",
        severity="warning",
        title=f"Unstable training in phase {phase.name}",
        evidence=f"The training loss rose from {best.loss:.3g} in epoch {best.epoch} to {phase.last.loss:.3g} in epoch "
        f"{phase.last.epoch}{_at_rate(phase.last)}.",
        advice=advice.against_instability(phase.spec, phase.name),
        phase=phase.name,
    )


def _nothing_learned(phase: _Phase) -> Finding | None:
    reached = max((record.score for record in phase.epochs if record.score is not None), default=None)
    if reached is None or not phase.is_last:
        return None
    error = standard_error(phase.guess.score, phase.train_examples) if phase.train_examples else 0.0
    chance = phase.guess.score
    # Where most examples are of one class, the first that is learned is to be less sure of it.
    if _has_plain_loss(phase) and min(record.loss for record in phase.epochs) < (1 - _LEARNED_LOSS) * phase.guess.loss:
        return None
    if reached > chance + max(SIGNIFICANT_ERRORS * error, (1 - chance) * LOSS_NOISE):
        return None
    return Finding(
        code="nothing_learned",
        severity="problem",
        title="Nothing was learned",
        evidence=f"After {len(phase.epochs)} epochs of phase {phase.name} the training {phase.score} is at best "
        f"{reached:.3f}; {phase.guess.how} gives {chance:.3f}. The training loss went from "
        f"{phase.epochs[0].loss:.3g} to {phase.last.loss:.3g}, guessing gives {phase.guess.loss:.3g}.",
        advice=advice.against_stagnation(phase.spec),
        phase=phase.name,
    )


def _has_plain_loss(phase: _Phase) -> bool:
    """Whether the training loss can be held beside that of guessing: nothing is weighted, smoothed or mixed in."""
    if phase.spec is None:
        return True
    training = phase.spec.training
    plain = training.loss == "auto" and training.class_weights == "none" and not training.label_smoothing
    return plain and phase.spec.data.weight_column is None


def _overfitting(phase: _Phase) -> Finding | None:
    curve, gap = _rising_curve(phase), _memorised(phase)
    if curve is None and gap is None:
        return None
    if curve is None:
        title = f"Overfitting in phase {phase.name}"
    else:
        title = f"Overfitting in phase {phase.name} from epoch {curve[0].epoch + 1}"
    return Finding(
        code="overfitting",
        severity="warning" if gap else "note",
        title=title,
        evidence=" ".join(part for part in (_curve_evidence(phase, curve), gap) if part),
        advice=advice.against_overfitting(phase.spec, phase.name),
        phase=phase.name,
    )


def _rising_curve(phase: _Phase) -> tuple[EpochRecord, float] | None:
    """The epoch with the lowest validation loss and that loss, if it rose for good while the training loss fell."""
    validated = [(record, record.val_loss) for record in phase.epochs if record.val_loss is not None]
    if not validated or phase.last.val_loss is None:
        return None
    best, lowest = min(validated, key=lambda pair: pair[1])
    after = [loss for record, loss in validated if record.epoch > best.epoch]
    threshold = lowest + max(OVERFITTING_RISE * lowest, phase.noise)
    if len(after) < OVERFITTING_EPOCHS or any(loss <= threshold for loss in after[-OVERFITTING_EPOCHS:]):
        return None
    return (best, lowest) if phase.last.loss < best.loss else None


def _curve_evidence(phase: _Phase, curve: tuple[EpochRecord, float] | None) -> str:
    if curve is None:
        return ""
    best, lowest = curve
    text = (
        f"The training loss fell from {best.loss:.2f} to {phase.last.loss:.2f} while the validation loss rose from "
        f"{lowest:.2f} to {phase.last.val_loss:.2f}."
    )
    if phase.kept.epoch == best.epoch:
        return f"{text} The model has the weights of epoch {best.epoch}, from before the rise."
    return f"{text} The model has the weights of epoch {phase.kept.epoch}."


def _memorised(phase: _Phase) -> str | None:
    """What to say of the gap between training and validation accuracy of the kept epoch, if it is large."""
    kept = phase.kept
    if not phase.is_last or kept.score is None or kept.val_score is None:
        return None
    gap = kept.score - kept.val_score
    error = standard_error(kept.val_score, phase.validation_examples)
    if gap < MEMORISING_GAP or gap < SIGNIFICANT_ERRORS * error:
        return None
    return (
        f"In the kept epoch {kept.epoch} the training {phase.score} is {kept.score:.3f}, the validation {phase.score} "
        f"{kept.val_score:.3f}."
    )


def _still_improving(phase: _Phase) -> Finding | None:
    if not phase.is_last:
        return None
    if len(phase.epochs) < _TREND_EPOCHS:
        return _one_epoch(phase)
    before, now = phase.epochs[-2].val_loss, phase.last.val_loss
    if before is None or now is None or phase.kept.epoch != phase.last.epoch:
        return None
    lowest_before = min(record.val_loss for record in phase.epochs[:-1] if record.val_loss is not None)
    if lowest_before - now < max(STILL_IMPROVING * lowest_before, phase.noise / 2):
        return None
    return Finding(
        code="too_few_epochs",
        severity="warning" if _is_weak(phase) else "note",
        title=f"Phase {phase.name} ended while still improving",
        evidence=f"The validation loss fell from {before:.3g} to {now:.3g} in the last of {len(phase.epochs)} epochs.",
        advice=advice.against_too_few_epochs(len(phase.epochs), phase.name),
        phase=phase.name,
    )


def _one_epoch(phase: _Phase) -> Finding | None:
    """A single epoch shows no trend, and its training figures are means over weights that were still changing."""
    if not _is_weak(phase):
        return None
    return Finding(
        code="too_few_epochs",
        severity="warning",
        title=f"Phase {phase.name} had a single epoch",
        evidence=f"It ended with a validation {phase.score} of {phase.kept.val_score:.3f}; whether it would go on "
        "improving, one epoch does not tell."
        if phase.kept.val_score is not None
        else "Whether it would go on improving, one epoch does not tell.",
        advice=advice.against_too_few_epochs(len(phase.epochs), phase.name),
        phase=phase.name,
    )


def _underfitting(phase: _Phase) -> Finding | None:
    if not phase.is_last or not _is_weak(phase):
        return None
    # A later epoch that fits them shows that it can: what the kept one lacks is not room.
    fitted = max((record.score for record in phase.epochs if record.score is not None), default=0.0)
    if beyond_chance(fitted, phase.guess.score) >= SUBSTANTIAL_AGREEMENT:
        return None
    kept = phase.kept
    validation = "" if kept.val_score is None else f" and the validation {phase.score} {kept.val_score:.3f}"
    return Finding(
        code="underfitting",
        severity="warning",
        title=f"Underfitting in phase {phase.name}",
        evidence=f"The training {phase.score} of the kept epoch {kept.epoch} is only {kept.score:.3f}{validation}: the "
        "model does not fit the very examples it learns from.",
        advice=advice.against_underfitting(phase.spec, phase.name),
        phase=phase.name,
    )


def _is_weak(phase: _Phase) -> bool:
    """Whether even the better of training and validation accuracy agrees with the labels less than substantially.

    The better of the two, because dropout and augmentation lower the training accuracy.
    """
    reached = [value for value in (phase.kept.score, phase.kept.val_score) if value is not None]
    return bool(reached) and beyond_chance(max(reached), phase.guess.score) < SUBSTANTIAL_AGREEMENT


def _plateau(phase: _Phase) -> Finding | None:
    """Epochs at the end that changed neither training nor validation loss: time that can be saved."""
    idle = [record for record in phase.epochs if record.epoch > phase.kept.epoch]
    if len(idle) < PLATEAU_EPOCHS or phase.kept.val_loss is None:
        return None
    validated = [record.val_loss for record in idle if record.val_loss is not None]
    moves = [
        *(abs(loss - phase.kept.val_loss) for loss in validated),
        *(abs(record.loss - phase.kept.loss) for record in idle),
    ]
    if len(validated) < len(idle) or any(move > phase.noise for move in moves):
        return None
    return Finding(
        code="plateau",
        severity="note",
        title=f"Phase {phase.name} stood still after epoch {phase.kept.epoch}",
        evidence=f"In the {len(idle)} epochs after it the validation loss stayed {_span(validated)} and the training "
        f"loss {_span([record.loss for record in idle])}; differences below {phase.noise:.2g} say nothing.",
        advice=("training.earlyStopping {patience: 3}, which saves this time",),
        phase=phase.name,
    )


def _span(losses: Sequence[float]) -> str:
    """Where losses lie, in words."""
    low, high = f"{min(losses):.3g}", f"{max(losses):.3g}"
    return f"at {low}" if low == high else f"between {low} and {high}"


def _higher_score(phase: _Phase) -> Finding | None:
    """Another epoch had the better answers, though not the lower loss: what counts may be the answers."""
    scored = [(record, record.val_score) for record in phase.epochs if record.val_score is not None]
    if not scored or not phase.is_last or phase.kept.val_score is None:
        return None
    best, highest = max(scored, key=lambda pair: pair[1])
    kept = phase.kept.val_score
    if highest - kept < max(HIGHER_SCORE, standard_error(kept, phase.validation_examples)):
        return None
    return Finding(
        code="higher_score",
        severity="note",
        title=f"Epoch {best.epoch} of phase {phase.name} had the higher validation {phase.score}",
        evidence=f"The validation {phase.score} was {highest:.3f} in epoch {best.epoch} and {kept:.3f} in epoch "
        f"{phase.kept.epoch}, whose weights were kept for the lowest validation loss.",
        advice=advice.for_the_score(phase.score_key),
        phase=phase.name,
    )


def _at_rate(record: EpochRecord) -> str:
    return "" if record.learning_rate is None else f" at a learning rate of {record.learning_rate:.3g}"
