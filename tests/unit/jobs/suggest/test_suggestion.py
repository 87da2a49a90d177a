from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork.spec.search_space import place_of
from graftwork_jobs.suggest.remedies import _BY_CODE, is_for_a_person
from graftwork_jobs.suggest.suggestion import suggest, value_at
from tests.unit.spec.examples import JOB, changed, without


def finding(code: str, *, severity: str = "warning", phase: str | None = "tune") -> dict[str, Any]:
    return {"code": code, "severity": severity, "phase": phase}


def paths(content: dict[str, Any], *codes: str, phase: str = "tune") -> list[str]:
    changes, _ = suggest([finding(code, phase=phase) for code in codes], content)
    return [change.path for change in changes]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("unstable", ["phases.tune.learningRate", "training.gradientClipNorm"]),
        ("nothing_learned", ["search"]),
        ("overfitting", ["head.dropout", "phases.tune.learningRate"]),
        ("underfitting", ["head.dropout", "phases.tune.learningRate"]),
        ("too_few_epochs", ["phases.tune.epochs"]),
        ("overconfident", ["training.labelSmoothing"]),
        ("other_domain", ["augment"]),
        ("validation_above_test", ["data.validation.fraction"]),
        ("plateau", []),
        ("higher_score", []),
        ("class_imbalance", []),
        ("weak_classes", []),
        ("leaked_test", []),
        ("number_not_learned", []),
        ("perhaps_the_mean", []),
        ("healthy", []),
    ],
)
def test_each_finding_has_its_remedy(code: str, expected: list[str]) -> None:
    """As far as the example has not applied it already, and at most two."""
    assert paths(JOB, code) == expected


@pytest.mark.parametrize(("code", "by_hand"), [("leaked_test", True), ("weak_classes", True), ("plateau", False)])
def test_what_only_a_person_can_do_is_told_as_such(code: str, by_hand: bool) -> None:
    """Examples to take out or to look at; what the spec can change is not among it, done already or not."""
    assert is_for_a_person(code) is by_hand


def test_what_the_spec_already_does_is_not_proposed_again() -> None:
    """Early stopping and class weights are in the example; without them they are proposed."""
    bare = without(without(JOB, ("spec", "training", "earlyStopping")), ("spec", "training", "classWeights"))
    assert paths(bare, "plateau") == ["training.earlyStopping"]
    assert paths(bare, "higher_score") == ["training.earlyStopping"]
    assert paths(bare, "class_imbalance") == ["training.classWeights"]


@pytest.mark.parametrize(("epochs", "patience"), [(1, 1), (3, 1), (4, 2), (20, 3)])
def test_early_stopping_can_come_within_the_phase(epochs: int, patience: int) -> None:
    """A patience as long as the phase would never end it."""
    bare = without(changed(JOB, ("spec", "phases", 1, "epochs"), epochs), ("spec", "training", "earlyStopping"))
    _, spec = suggest([finding("plateau")], bare)
    assert spec["spec"]["training"]["earlyStopping"] == {"patience": patience}


def test_the_graver_finding_decides_about_a_field() -> None:
    """Two findings that pull a field both ways do not both get their way."""
    findings = [finding("underfitting", severity="note"), finding("unstable", severity="problem")]
    changes, spec = suggest(findings, JOB)
    rates = [change for change in changes if change.path == "phases.tune.learningRate"]
    assert [change.finding for change in rates] == ["unstable"]
    assert spec["spec"]["phases"][1]["learningRate"] == pytest.approx(1e-6)


def test_underfitting_of_a_frozen_backbone_adds_a_phase() -> None:
    """With a part of the backbone unfrozen and a lower rate."""
    frozen = changed(JOB, ("spec", "phases"), JOB["spec"]["phases"][:1])
    _, spec = suggest([finding("underfitting", phase="head")], frozen)
    added = spec["spec"]["phases"][1]
    assert added["unfreeze"] == {"fraction": 0.3}
    assert added["learningRate"] == pytest.approx(1e-4)


def test_what_a_search_found_comes_first() -> None:
    """Its values are taken over, and no finding changes them again."""
    changes, spec = suggest([finding("overfitting")], JOB, found={"head.dropout": 0.1, "training.batchSize": 32})
    assert [(change.path, change.finding) for change in changes][:2] == [
        ("head.dropout", "search"),
        ("training.batchSize", "search"),
    ]
    assert spec["spec"]["head"]["dropout"] == 0.1


_CODES = st.sampled_from([*_BY_CODE, "healthy", "weak_classes", "leaked_test"])
_FINDINGS = st.lists(
    st.builds(
        finding,
        _CODES,
        severity=st.sampled_from(["problem", "warning", "note", "good"]),
        phase=st.sampled_from(["head", "tune", "gone", None]),
    ),
    max_size=6,
)
_SPECS = st.builds(
    lambda lr, epochs, unfreeze, dropout, augment, fraction, training: {
        **JOB,
        "spec": {
            **JOB["spec"],
            "phases": [
                JOB["spec"]["phases"][0],
                {"name": "tune", "epochs": epochs, "unfreeze": unfreeze, "learningRate": lr},
            ],
            "head": {"dropout": dropout},
            "augment": augment,
            "data": {"train": {"uri": "x"}, "validation": {"fraction": fraction}, "test": {"fraction": 0.6}},
            "training": training,
            "features": {},
        },
    },
    st.floats(1e-6, 10),
    st.integers(1, 9),
    st.sampled_from(["none", "all", {"fraction": 0.5}, {"lastLayers": 3}, {"fromLayer": "x"}]),
    st.floats(0, 0.9),
    st.sampled_from([[], [{"contrast": 0.1}], [{"flip": "horizontal"}, {"zoom": 0.5}]]),
    st.floats(0.01, 0.39),
    st.sampled_from([{}, {"batchSize": 8}, {"earlyStopping": {}, "gradientClipNorm": 1.0, "weightDecay": 0.1}]),
)


@given(_FINDINGS, _SPECS)
@settings(max_examples=150)
def test_every_suggestion_is_a_valid_spec(findings: list[dict[str, Any]], content: dict[str, Any]) -> None:
    """Whatever was found in whatever spec; each change is told with what was there before, and the input stays."""
    before = copy.deepcopy(content)
    changes, spec = suggest(findings, content)
    assert content == before
    FineTuneJob.model_validate(spec, strict=True, by_alias=True, by_name=False)
    for change in changes:
        place = place_of(content["spec"], change.path)
        assert value_at(content["spec"], place) == change.before
        assert value_at(spec["spec"], place) == change.after
        assert change.before != change.after
    assert len({change.path for change in changes}) == len(changes)
