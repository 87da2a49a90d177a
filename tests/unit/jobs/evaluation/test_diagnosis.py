from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from graftwork.spec.fine_tune_job import FineTuneJobSpec
from graftwork_jobs.evaluation.class_reporting import ClassReporting
from graftwork_jobs.evaluation.diagnosis import DiagnosisInput, diagnose, main_finding
from graftwork_jobs.evaluation.history import EpochRecord
from graftwork_jobs.evaluation.metrics import ClassificationMetrics
from tests.unit.jobs.evaluation.builders import epochs, metrics_with

_CLASSES = tuple("abcdefghij")


def _good_test() -> ClassificationMetrics:
    """900 of 1,000 right, evenly over ten classes, and as confident as right."""
    return metrics_with(dict.fromkeys(_CLASSES, 90), dict.fromkeys(_CLASSES, 10))


def _given(*records: EpochRecord, kept: dict[str, int], **changes: Any) -> DiagnosisInput:
    given = DiagnosisInput(
        history=records,
        kept_epochs=kept,
        reporting=ClassReporting(),
        test=_good_test(),
        train_counts=dict.fromkeys(_CLASSES, 100),
        validation_examples=200,
    )
    return replace(given, **changes)


def _codes(given: DiagnosisInput) -> list[str]:
    return [finding.code for finding in diagnose(given)]


_HEAD = epochs("head", [1.6, 0.8, 0.6], [1.0, 0.7, 0.55], [0.6, 0.75, 0.82], [0.7, 0.78, 0.83])
_TUNE = epochs(
    "tune", [0.5, 0.42, 0.38, 0.36], [0.45, 0.41, 0.4, 0.398], [0.86, 0.88, 0.9, 0.91], [0.86, 0.88, 0.9, 0.9]
)

_OVERFITTED_LATER = epochs(
    "tune",
    [0.5, 0.4, 0.3, 0.2, 0.1],
    [0.45, 0.4, 0.5, 0.6, 0.7],
    [0.88, 0.9, 0.92, 0.95, 0.97],
    [0.89, 0.9, 0.9, 0.9, 0.9],
)


def test_a_single_epoch_asks_for_more() -> None:
    """Not for a larger head: its training figures are means over weights that were still changing."""
    once = epochs("head", [1.9], [1.6], [0.3], [0.5])
    codes = _codes(_given(*once, kept={"head": 1}))
    assert "too_few_epochs" in codes
    assert "underfitting" not in codes


def test_a_run_that_fits_its_examples_later_is_not_underfitting() -> None:
    """Though the kept epoch did not yet."""
    later = epochs("tune", [1.5, 1.2, 0.3], [1.4, 1.3, 1.5], [0.4, 0.5, 0.95], [0.45, 0.5, 0.45])
    assert "underfitting" not in _codes(_given(*later, kept={"tune": 2}))
    never = epochs("tune", [1.5, 1.2, 1.19], [1.4, 1.3, 1.5], [0.4, 0.5, 0.5], [0.45, 0.5, 0.45])
    assert "underfitting" in _codes(_given(*never, kept={"tune": 2}))


def _noisy_healthy_run(seed: int) -> DiagnosisInput:
    """Two phases that go down exponentially with the noise of small validation sets, stopped early by patience 3."""
    random = np.random.default_rng(seed)
    steps = np.arange(12)
    loss = 0.3 + 1.6 * np.exp(-steps / 2.5)
    val_loss = 0.36 + 1.5 * np.exp(-steps / 2.5) + random.normal(0, 0.008, 12)
    accuracy = 0.92 - 0.5 * np.exp(-steps / 2.5)
    val_accuracy = np.round((0.9 - 0.45 * np.exp(-steps / 2.5)) * 200 + random.normal(0, 3, 12)) / 200
    best = int(val_loss.argmin())
    end = min(12, best + 4)
    records = epochs("tune", *(curve[:end].tolist() for curve in (loss, val_loss, accuracy, val_accuracy)))
    hits = random.binomial(100, 0.9, 10).tolist()
    right = dict(zip(_CLASSES, hits, strict=True))
    test = metrics_with(right, {name: 100 - count for name, count in right.items()})
    return _given(*records, kept={"tune": best + 1}, test=test)


def test_a_healthy_run_is_called_healthy_and_nothing_else() -> None:
    """Falling curves, a small gap and a fitting test accuracy give one finding only."""
    assert _codes(_given(*_HEAD, *_TUNE, kept={"head": 3, "tune": 4})) == ["healthy"]


@pytest.mark.parametrize(("records", "kept", "said"), [(_TUNE, 4, True), (_OVERFITTED_LATER, 2, False)])
def test_training_and_validation_went_together_only_if_no_note_denies_it(
    records: tuple[EpochRecord, ...], kept: int, said: bool
) -> None:
    """A healthy run may have overfitted after the epoch whose weights it kept; then it does not say so."""
    verdict, *notes = diagnose(_given(*records, kept={"tune": kept}))
    assert verdict.code == "healthy"
    assert ("overfitting" not in {note.code for note in notes}) is said
    assert ("went together" in verdict.evidence) is said


@pytest.mark.parametrize(("leaked", "codes"), [(10, ["leaked_test"]), (9, ["healthy", "leaked_test"])])
def test_a_test_set_that_holds_training_data_is_no_proof_of_health(leaked: int, codes: list[str]) -> None:
    """From one example in a hundred on; fewer are a note."""
    assert _codes(_given(*_TUNE, kept={"tune": 4}, leaked={"test": leaked})) == codes


def test_a_leak_is_told_before_other_warnings() -> None:
    """What figures are worth comes before what they say, with share and fix; each test set by its name."""
    leaked = {"test": 250, "night": 1000}
    first, second, *others = diagnose(
        _given(*_RISING, kept={"tune": 7}, leaked=leaked, extra_tests={"night": _good_test()})
    )
    assert "Of its 1,000 examples 250 (25.0%) are in the training or validation data" in first.evidence
    assert "removed from data.test" in first.advice[0]
    assert "data.test.fraction" in first.advice[1]
    assert second.title == "Test set night holds training or validation data"
    assert "overfitting" in [finding.code for finding in others]


def test_noise_is_not_taken_for_a_finding() -> None:
    """Of 60 healthy runs with the noise of small test sets, at most 1 is warned of."""
    alarms = [seed for seed in range(60) if _codes(_noisy_healthy_run(seed))[0] != "healthy"]
    assert len(alarms) <= 1


def test_healthy_at_the_first_epoch_is_not_stagnation() -> None:
    """A task learned within one epoch, whose loss then hardly moves, is no failure."""
    records = epochs("head", [0.06, 0.055], [0.05, 0.05], [0.985, 0.987], [0.985, 0.985])
    test = metrics_with(dict.fromkeys(_CLASSES, 98), dict.fromkeys(_CLASSES, 2))
    assert _codes(_given(*records, kept={"head": 1}, test=test)) == ["healthy"]


def test_a_tiny_rise_at_tiny_losses_is_not_overfitting() -> None:
    """From 0.010 to 0.013 is a rise by a third and yet nothing."""
    records = epochs("tune", [0.03, 0.01, 0.005, 0.004], [0.02, 0.01, 0.012, 0.013], [0.99] * 4, [0.995] * 4)
    test = metrics_with(dict.fromkeys(_CLASSES, 99), dict.fromkeys(_CLASSES, 1))
    assert _codes(_given(*records, kept={"tune": 2}, test=test)) == ["healthy"]


_RISING = epochs(
    "tune",
    [0.9, 0.6, 0.5, 0.41, 0.3, 0.15, 0.08],
    [1.0, 0.8, 0.7, 0.62, 0.7, 0.8, 0.91],
    [0.7, 0.8, 0.85, 0.88, 0.92, 0.97, 0.99],
    [0.7, 0.75, 0.8, 0.82, 0.82, 0.81, 0.8],
)
_DIVERGING = epochs("tune", [1.5, 0.7, 0.9, 2.1], [1.4, 0.8, 1.0, 2.2], [0.5, 0.8, 0.7, 0.3], [0.5, 0.78, 0.7, 0.3])
_STUCK = epochs("head", [2.31, 2.30, 2.30], [2.30, 2.30, 2.30], [0.1, 0.105, 0.1], [0.1, 0.1, 0.1])
_WEAK = epochs(
    "head", [1.7, 1.5, 1.48, 1.475], [1.6, 1.5, 1.49, 1.487], [0.4, 0.45, 0.46, 0.46], [0.42, 0.45, 0.45, 0.46]
)
_BY_HEART = epochs(
    "tune", [0.9, 0.3, 0.1, 0.09], [0.9, 0.75, 0.7, 0.7], [0.7, 0.9, 0.99, 0.995], [0.7, 0.77, 0.79, 0.79]
)
_GOING_ON = epochs("head", [2.0, 1.6, 1.3], [1.9, 1.55, 1.25], [0.3, 0.45, 0.55], [0.3, 0.45, 0.56])
_FLAT = epochs("head", [0.8] + [0.4] * 9, [0.7] + [0.38] * 9, [0.7] + [0.9] * 9, [0.75] + [0.9] * 9)


@pytest.mark.parametrize(
    ("records", "kept", "code", "severity", "evidence"),
    [
        (
            _RISING,
            {"tune": 7},
            "overfitting",
            "warning",
            "fell from 0.41 to 0.08 while the validation loss rose from 0.62",
        ),
        (_RISING, {"tune": 4}, "overfitting", "note", "has the weights of epoch 4, from before the rise"),
        (_BY_HEART, {"tune": 3}, "overfitting", "warning", "training accuracy is 0.990, the validation accuracy 0.790"),
        (_DIVERGING, {"tune": 2}, "unstable", "warning", "rose from 0.7 in epoch 2 to 2.1 in epoch 4"),
        (_STUCK, {"head": 1}, "nothing_learned", "problem", "always naming the most frequent class gives 0.100"),
        (_WEAK, {"head": 4}, "underfitting", "warning", "only 0.460"),
        (_GOING_ON, {"head": 3}, "too_few_epochs", "warning", "from 1.55 to 1.25 in the last of 3 epochs"),
        (_FLAT, {"head": 2}, "plateau", "note", "In the 8 epochs after it"),
    ],
)
def test_what_goes_wrong_in_a_phase_is_named_with_its_figures(
    records: tuple[EpochRecord, ...], kept: dict[str, int], code: str, severity: str, evidence: str
) -> None:
    """Each kind of trouble is found once, with the figures that show it and something to try."""
    findings = [finding for finding in diagnose(_given(*records, kept=kept)) if finding.phase is not None]
    assert [(finding.code, finding.severity) for finding in findings] == [(code, severity)]
    assert evidence in findings[0].evidence
    assert findings[0].advice


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_the_only_thing_said_of_a_phase(value: float) -> None:
    """Breaking down explains everything after it."""
    records = epochs("tune", [0.9, value], [0.8, value], [0.7, 0.1], [0.7, 0.1])
    findings = [finding for finding in diagnose(_given(*records, kept={"tune": 1})) if finding.phase]
    assert [finding.code for finding in findings] == ["not_a_number"]
    assert "epoch 2" in findings[0].title
    assert "0.001" in findings[0].evidence


def test_a_plateau_tells_the_losses_that_there_were() -> None:
    """Those of the epochs after the kept one, which may be lower than its own."""
    losses = [0.00525, 0.0001, 0.00002, 0.0001, 0.00003, 0.0001, 0.0001]
    records = epochs("tune", losses, [0.02] + [0.021] * 6, [0.99] * 7, [0.99] * 7)
    (finding,) = [each for each in diagnose(_given(*records, kept={"tune": 1})) if each.code == "plateau"]
    assert "the validation loss stayed at 0.021 and the training loss between 2e-05 and 0.0001" in finding.evidence


def test_overfitting_names_the_epoch_it_begins_with() -> None:
    """The title says from when on: the epoch after the best."""
    finding = next(f for f in diagnose(_given(*_RISING, kept={"tune": 7})) if f.code == "overfitting")
    assert finding.title == "Overfitting in phase tune from epoch 5"


def test_a_gap_within_the_chance_of_a_small_validation_set_is_no_finding() -> None:
    """The same gap that convicts with 2,000 validation examples says nothing with 12."""
    records = epochs("tune", [0.5, 0.4], [0.6, 0.598], [0.9, 0.93], [0.8, 0.81])
    assert "overfitting" in _codes(_given(*records, kept={"tune": 2}, validation_examples=2000))
    assert "overfitting" not in _codes(_given(*records, kept={"tune": 2}, validation_examples=12))


def test_a_loss_below_guessing_is_something_learned() -> None:
    """With two thirds of one class the score starts to rise last."""
    records = epochs("head", [0.66, 0.5], [0.66, 0.55], [0.66, 0.67], [0.66, 0.67])
    given = _given(*records, kept={"head": 2}, test=metrics_with({"a": 60, "b": 10}, {"b": 30}))
    assert "nothing_learned" not in _codes(replace(given, train_counts={"a": 66, "b": 34}))
    flat = epochs("head", [0.66, 0.63], [0.66, 0.64], [0.66, 0.66], [0.66, 0.66])
    assert "nothing_learned" in _codes(replace(given, history=flat, train_counts={"a": 66, "b": 34}))


def test_nothing_learned_is_judged_against_the_most_frequent_class() -> None:
    """An accuracy of 0.8 is nothing where one class makes up 0.8 of the data."""
    records = epochs("head", [0.5, 0.5], [0.5, 0.5], [0.8, 0.8], [0.8, 0.8])
    test = metrics_with({"a": 80, "b": 0}, {"b": 20})
    given = _given(*records, kept={"head": 1}, test=test)
    assert "nothing_learned" in _codes(replace(given, train_counts={"a": 800, "b": 200}))
    assert "nothing_learned" not in _codes(replace(given, train_counts={"a": 500, "b": 500}))


def test_a_validation_accuracy_far_above_the_test_is_named() -> None:
    """0.98 on validation and 0.90 on 1,000 test examples cannot be chance."""
    records = epochs("head", [0.3, 0.25], [0.2, 0.199], [0.95, 0.96], [0.98, 0.98])
    assert "validation_above_test" in _codes(_given(*records, kept={"head": 2}, validation_examples=500))


def test_the_same_difference_on_few_examples_is_not() -> None:
    """With 20 validation and 20 test examples the same difference is chance."""
    records = epochs("head", [0.3, 0.25], [0.2, 0.199], [0.95, 0.96], [0.95, 0.95])
    test = metrics_with(dict.fromkeys("ab", 9), dict.fromkeys("ab", 1))
    assert "validation_above_test" not in _codes(_given(*records, kept={"head": 2}, test=test, validation_examples=20))


def _one_weak_class() -> ClassificationMetrics:
    return metrics_with({**dict.fromkeys(_CLASSES, 95), "c": 30}, {**dict.fromkeys(_CLASSES, 5), "c": 70})


def test_a_rare_class_that_is_missed_is_blamed_on_its_rarity() -> None:
    """Few training examples and a low recall point to class weights."""
    counts = {**dict.fromkeys(_CLASSES, 100), "c": 10}
    findings = diagnose(_given(*_TUNE, kept={"tune": 4}, test=_one_weak_class(), train_counts=counts))
    finding = next(finding for finding in findings if finding.code == "class_imbalance")
    assert "0.300 of c (10 training examples, mostly taken for d)" in finding.evidence
    assert "training.classWeights balanced" in finding.advice


def test_where_most_classes_are_rare_the_largest_says_so() -> None:
    """The class in the middle is as rare as the one that is missed."""
    counts = {**dict.fromkeys(_CLASSES, 20), "a": 400}
    findings = diagnose(_given(*_TUNE, kept={"tune": 4}, test=_one_weak_class(), train_counts=counts))
    finding = next(finding for finding in findings if finding.code == "class_imbalance")
    assert "Half of the classes have at least 20 training examples, the largest has 400" in finding.evidence


@pytest.mark.parametrize(("examples", "said"), [(2000, True), (20, False)])
def test_a_later_epoch_with_better_answers_is_pointed_out(examples: int, said: bool) -> None:
    """The loss was lowest in epoch 2; where the answers count, epoch 4 is the better one, unless chance explains it."""
    records = epochs(
        "tune", [0.6, 0.5, 0.45, 0.42], [0.5, 0.44, 0.45, 0.46], [0.8, 0.82, 0.84, 0.85], [0.7, 0.8, 0.82, 0.86]
    )
    given = _given(*records, kept={"tune": 2}, validation_examples=examples)
    found = next((finding for finding in diagnose(given) if finding.code == "higher_score"), None)
    assert (found is not None) == said
    if found is not None:
        assert found.severity == "note"
        assert "was 0.860 in epoch 4 and 0.800 in epoch 2" in found.evidence
        assert "training.earlyStopping {monitor: val_accuracy}" in found.advice[0]


def test_a_frequent_class_that_is_missed_is_not() -> None:
    """With as many training examples as the others its labels are to be looked at."""
    findings = diagnose(_given(*_TUNE, kept={"tune": 4}, test=_one_weak_class()))
    assert "weak_classes" in [finding.code for finding in findings]
    assert "class_imbalance" not in [finding.code for finding in findings]


def test_a_low_recall_of_two_examples_convicts_no_class() -> None:
    """One of two missed is no evidence."""
    test = metrics_with({**dict.fromkeys(_CLASSES, 95), "c": 1}, {**dict.fromkeys(_CLASSES, 5), "c": 1})
    assert "weak_classes" not in _codes(_given(*_TUNE, kept={"tune": 4}, test=test))


def test_a_drop_on_another_domain_is_named_with_both_figures() -> None:
    """A further test set that fares worse is named."""
    other = metrics_with(dict.fromkeys(_CLASSES, 60), dict.fromkeys(_CLASSES, 40), confidence=0.6)
    findings = diagnose(_given(*_TUNE, kept={"tune": 4}, extra_tests={"night": other, "day": _good_test()}))
    (finding,) = [finding for finding in findings if finding.code == "other_domain"]
    assert "from 0.900 on the test set to 0.600 on night" in finding.evidence


def test_scores_that_promise_too_much_are_noted() -> None:
    """Mean confidence 0.99 at accuracy 0.90 misleads."""
    test = metrics_with(dict.fromkeys(_CLASSES, 90), dict.fromkeys(_CLASSES, 10), confidence=0.99)
    assert _codes(_given(*_TUNE, kept={"tune": 4}, test=test)) == ["healthy", "overconfident"]


def _spec(**training: Any) -> FineTuneJobSpec:
    return FineTuneJobSpec.model_validate(
        {
            "task": "image-classification",
            "backbone": {"name": "ResNet50"},
            "data": {"train": {"uri": "pictures"}},
            "augment": [{"flip": "horizontal"}],
            "head": {"dropout": 0.3},
            "phases": [{"name": "tune", "epochs": 7, "learningRate": 0.001, "unfreeze": "all"}],
            "training": {"earlyStopping": {"patience": 3}, **training},
        }
    )


def test_advice_leaves_out_what_the_spec_already_does() -> None:
    """Early stopping and augmentation that are set are not proposed; dropout goes one step up."""
    finding = next(f for f in diagnose(_given(*_RISING, kept={"tune": 7}, spec=_spec())) if f.code == "overfitting")
    text = "; ".join(finding.advice)
    assert "earlyStopping" not in text
    assert "augment" not in text
    assert "head.dropout 0.5" in text
    assert "unfrozen layers in phase tune" in text


def test_the_gravest_finding_comes_first_and_is_the_main_one() -> None:
    """Problems before warnings before notes."""
    test = metrics_with(dict.fromkeys(_CLASSES, 90), dict.fromkeys(_CLASSES, 10), confidence=0.99)
    findings = diagnose(_given(*_STUCK, kept={"head": 1}, test=test))
    assert [finding.severity for finding in findings] == ["problem", "note"]
    assert main_finding(findings) is findings[0]


def test_the_main_finding_of_a_healthy_run_with_notes_is_that_it_is_healthy() -> None:
    """A note does not displace the verdict."""
    test = metrics_with(dict.fromkeys(_CLASSES, 90), dict.fromkeys(_CLASSES, 10), confidence=0.99)
    assert main_finding(diagnose(_given(*_TUNE, kept={"tune": 4}, test=test))).code == "healthy"


def test_a_finding_reads_as_a_sentence_with_what_to_try() -> None:
    """Its text holds title, figures and advice."""
    finding = next(f for f in diagnose(_given(*_RISING, kept={"tune": 7})) if f.code == "overfitting")
    assert str(finding).startswith("Overfitting in phase tune from epoch 5: The training loss fell")
    assert " Try: training.earlyStopping {patience: 3}; " in str(finding)
