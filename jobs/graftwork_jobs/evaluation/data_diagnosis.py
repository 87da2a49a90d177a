"""What the test sets show: leaks, weak classes, flattering validation data, another domain, overconfidence. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median
from typing import TYPE_CHECKING, Final

from graftwork.spec.fine_tune_job import FineTuneJobSpec
from graftwork_jobs.data.audit import IMBALANCE
from graftwork_jobs.evaluation import advice
from graftwork_jobs.evaluation.findings import Finding
from graftwork_jobs.evaluation.metrics import ClassificationMetrics, ClassMetrics
from graftwork_jobs.evaluation.uncertainty import CONFIDENCE, SIGNIFICANT_ERRORS, chance_of_at_most, standard_error

if TYPE_CHECKING:
    from graftwork_jobs.evaluation.diagnosis import DiagnosisInput

# A tenth of the variance, or of F1, is beyond what a draw of a hundred examples does to these figures.
_CLEAR_DROP: Final = 0.1
# Differences of accuracy that are beyond chance and yet too small to act on.
FLATTERING_GAP: Final = 0.03
DOMAIN_DROP: Final = 0.05
# A mean confidence that many points above the accuracy misleads whoever acts on a score.
OVERCONFIDENCE: Final = 0.05
# A class is weak only if its recall is far from that of the others, not merely below them.
WEAK_RECALL_GAP: Final = 0.15
# A class with less than half the training examples of the middle class is rare, as is one that the plan warns of.
RARE_SHARE: Final = 0.5
# A hundredth of a test set, known by heart, can lift a share of right answers by as much as one reads of it.
LEAKED_SHARE: Final = 0.01
_CLASSES_NAMED = 5


def data_findings(
    test: ClassificationMetrics,
    *,
    extra_tests: Mapping[str, ClassificationMetrics],
    train_counts: Mapping[str, int],
    kept_validation_accuracy: float | None,
    validation_examples: int,
    spec: FineTuneJobSpec | None,
) -> list[Finding]:
    """Judge the test set and each further one.

    Args:
        test: metrics of the test set.
        extra_tests: metrics of the further test sets, by name.
        train_counts: training examples by class; empty when unknown.
        kept_validation_accuracy: validation accuracy of the final weights, if there was validation.
        validation_examples: size of the validation set; 0 when unknown.
        spec: the job's spec, for the advice.
    """
    found = [
        _flattering_validation(test, kept_validation_accuracy, validation_examples),
        _weak_classes(test, train_counts, spec),
        *(_other_domain(test, name, metrics, spec) for name, metrics in extra_tests.items()),
        _overconfidence(test, spec),
    ]
    return [finding for finding in found if finding is not None]


def leak_findings(given: DiagnosisInput) -> list[Finding]:
    """Test sets that hold what the model was trained on or chosen by, as soon as that can change a figure."""
    tests = {"test": given.test, **given.extra_tests}
    return [
        _leak(name, given.leaked[name], metrics.examples, given.spec)
        for name, metrics in tests.items()
        if given.leaked.get(name)
    ]


def _leak(name: str, leaked: int, examples: int, spec: FineTuneJobSpec | None) -> Finding:
    which = "The test set" if name == "test" else f"Test set {name}"
    return Finding(
        code="leaked_test",
        severity="warning" if leaked >= LEAKED_SHARE * examples else "note",
        title=f"{which} holds training or validation data",
        evidence=f"Of its {examples:,} examples {leaked:,} ({leaked / examples:.1%}) {'is' if leaked == 1 else 'are'} "
        "in the training or validation data, too: its figures, and gates on them, look better than they are.",
        advice=advice.against_leak(name, spec),
    )


def _flattering_validation(
    test: ClassificationMetrics, validation: float | None, validation_examples: int
) -> Finding | None:
    if validation is None:
        return None
    accuracy = test.summary["accuracy"]
    error = math.hypot(standard_error(accuracy, test.examples), standard_error(validation, validation_examples))
    if validation - accuracy < max(FLATTERING_GAP, SIGNIFICANT_ERRORS * error):
        return None
    return Finding(
        code="validation_above_test",
        severity="warning",
        title="The validation data flatters",
        evidence=f"The accuracy is {validation:.3f} on validation and {accuracy:.3f} on test, more than chance "
        f"explains for {test.examples:,} test examples.",
        advice=advice.AGAINST_FLATTERY,
    )


def _weak_classes(
    test: ClassificationMetrics, train_counts: Mapping[str, int], spec: FineTuneJobSpec | None
) -> Finding | None:
    """Classes whose recall is surely and clearly below that of all examples together."""
    accuracy = test.summary["accuracy"]
    # Bonferroni: as many comparisons as classes, so each is held to a level that much stricter.
    level = (1 - CONFIDENCE) / len(test.labels)
    weak = [
        row
        for row in test.per_class
        if row.recall is not None
        and row.recall < accuracy - WEAK_RECALL_GAP
        and chance_of_at_most(round(row.recall * row.support), row.support, accuracy) < level
    ]
    if not weak:
        return None
    weak.sort(key=lambda row: (row.recall or 0.0, row.label))
    middle = median(train_counts.values()) if train_counts else 0
    largest = max(train_counts.values(), default=0)
    rare = [
        row
        for row in weak
        if (count := train_counts.get(row.label)) is not None
        and (count < RARE_SHARE * middle or count * IMBALANCE <= largest)
    ]
    named = "; ".join(_describe(row, test, train_counts) for row in weak[:_CLASSES_NAMED])
    more = f"; and {len(weak) - _CLASSES_NAMED} more" if len(weak) > _CLASSES_NAMED else ""
    evidence = f"Of all test examples {accuracy:.3f} are right, but {named}{more}."
    if rare:
        return Finding(
            code="class_imbalance",
            severity="warning",
            title="Rare classes are often missed" if len(rare) > 1 else "A rare class is often missed",
            evidence=f"{evidence} Half of the classes have at least {middle:g} training "
            f"examples, the largest has {largest:,}.",
            advice=advice.against_imbalance(spec),
        )
    return Finding(
        code="weak_classes",
        severity="warning",
        title="Some classes are often missed" if len(weak) > 1 else f"Class {weak[0].label} is often missed",
        evidence=evidence,
        advice=("a look at the labels of these classes in data.train", "more training examples of them"),
    )


def _describe(row: ClassMetrics, test: ClassificationMetrics, train_counts: Mapping[str, int]) -> str:
    index = test.labels.index(row.label)
    mistaken = test.confusion[index].copy()
    mistaken[index] = 0
    details = [f"mostly taken for {test.labels[int(mistaken.argmax())]}"] if mistaken.any() else []
    if row.label in train_counts:
        details.insert(0, f"{train_counts[row.label]:,} training examples")
    return f"{row.recall or 0.0:.3f} of {row.label} ({', '.join(details)})"


def _other_domain(
    test: ClassificationMetrics, name: str, other: ClassificationMetrics, spec: FineTuneJobSpec | None
) -> Finding | None:
    here, there = test.summary["accuracy"], other.summary["accuracy"]
    error = math.hypot(standard_error(here, test.examples), standard_error(there, other.examples))
    if here - there < max(DOMAIN_DROP, SIGNIFICANT_ERRORS * error):
        return None
    return Finding(
        code="other_domain",
        severity="warning",
        title=f"Weaker on {name}",
        evidence=f"The accuracy falls from {here:.3f} on the test set to {there:.3f} on {name}: its examples differ "
        "from the training data.",
        advice=advice.against_other_domain(name, spec),
    )


def _overconfidence(test: ClassificationMetrics, spec: FineTuneJobSpec | None) -> Finding | None:
    accuracy = test.summary["accuracy"]
    excess = test.confidence - accuracy
    if excess < max(OVERCONFIDENCE, SIGNIFICANT_ERRORS * standard_error(accuracy, test.examples)):
        return None
    return Finding(
        code="overconfident",
        severity="note",
        title="The scores promise too much",
        evidence=f"The mean confidence on the test set is {test.confidence:.3f}, the accuracy {accuracy:.3f}.",
        advice=advice.against_overconfidence(spec),
    )


def _half_width(given: DiagnosisInput, test: str, key: str) -> float:
    """How far a figure may be from the truth by chance; 0 where that was not computed."""
    low, high = given.intervals.get(test, {}).get(key, (0.0, 0.0))
    return (high - low) / 2 if math.isfinite(high - low) else 0.0


def _above(given: DiagnosisInput, test: str, key: str, value: float) -> float:
    """How far the truth may be above a figure by chance: intervals of R² reach far below it and little above."""
    _, high = given.intervals.get(test, {}).get(key, (value, value))
    return max(0.0, high - value) if math.isfinite(high) else 0.0


def score_drops(given: DiagnosisInput, key: str, words: str) -> list[Finding]:
    """A validation set that flatters, another domain: for figures whose chance is known from drawn test sets only.

    Args:
        given: of the run.
        key: the leading figure.
        words: its name at the start of a sentence.
    """
    here: float = given.test.summary[key]
    validation = given.kept_validation_score
    found = []
    above, half = _above(given, "test", key, here), _half_width(given, "test", key)
    # Validation data has no interval; it would be as wide as that of a test set of its size.
    rows = given.validation_examples or given.test.examples
    chance = math.hypot(above, above * math.sqrt(given.test.examples / rows))
    if validation is not None and validation - here > max(_CLEAR_DROP, chance):
        found.append(
            Finding(
                code="validation_above_test",
                severity="warning",
                title="The validation data flatters",
                evidence=f"{words} is {validation:.3f} on validation and {here:.3f} on test.",
                advice=advice.AGAINST_FLATTERY,
            )
        )
    for name, metrics in given.extra_tests.items():
        there: float = metrics.summary[key]
        if here - there > max(_CLEAR_DROP, math.hypot(half, _half_width(given, name, key))):
            found.append(
                Finding(
                    code="other_domain",
                    severity="warning",
                    title=f"Weaker on {name}",
                    evidence=f"{words} falls from {here:.3f} on the test set to {there:.3f} on {name}.",
                    advice=advice.against_other_domain(name, given.spec),
                )
            )
    return found
