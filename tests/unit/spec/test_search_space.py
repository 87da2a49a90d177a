from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwork.errors import Problem
from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork.spec.load import check_text
from graftwork.spec.search_space import SEARCHED_SECTIONS, trial_specs, with_values
from tests.unit.spec.examples import JOB, changed

SPACE: dict[str, Any] = {
    "phases.head.learningRate": {"logUniform": [1e-4, 1e-2]},
    "phases.tune.unfreeze": {"choice": ["none", {"lastLayers": 20}]},
    "head.dropout": {"uniform": [0, 0.5]},
    "training.batchSize": {"choice": [32, 64]},
    "augment.1.rotate": {"choice": [0.05, 0.2]},
    "training.earlyStopping.patience": {"integer": [2, 5]},
}


def searched(space: dict[str, Any], **search: Any) -> dict[str, Any]:
    """The example job with a search."""
    return changed(JOB, ("spec", "search"), {"space": space, **search})


def problems_of(content: dict[str, Any]) -> list[Problem]:
    return check_text(yaml.safe_dump(content), file="job.yaml", base_dir=Path())[1]


def at(spec: Any, path: str) -> Any:
    """What stands at a path; None where nothing does."""
    for step in path.split("."):
        if isinstance(spec, list):
            spec = next((entry for entry in spec if entry.get("name") == step), None) or spec[int(step)]
        else:
            spec = spec.get(step)
    return spec


def test_the_first_trial_is_the_spec_as_it_stands() -> None:
    """So that a search never ends with less than the job alone."""
    job = FineTuneJob.model_validate(searched(SPACE, trials=5))
    first, *others = trial_specs(job.spec)
    assert (first.number, first.values) == (0, {})
    assert first.spec == JOB["spec"]
    assert [trial.number for trial in others] == [1, 2, 3, 4]


def test_each_trial_changes_what_its_values_say_and_nothing_else() -> None:
    """The field at each path has the drawn value; putting the old ones back gives the spec back."""
    job = FineTuneJob.model_validate(searched(SPACE, trials=8))
    for trial in trial_specs(job.spec)[1:]:
        assert set(trial.values) == set(SPACE)
        assert {path: at(trial.spec, path) for path in SPACE} == trial.values
        before = {path: at(JOB["spec"], path) for path in SPACE}
        assert with_values(trial.spec, before) == JOB["spec"]


def test_trials_depend_on_space_and_seed_only() -> None:
    """More trials keep the earlier ones; another order of the fields changes nothing; another seed everything."""
    few = trial_specs(FineTuneJob.model_validate(searched(SPACE, trials=4)).spec)
    backwards = dict(reversed(SPACE.items()))
    many = trial_specs(FineTuneJob.model_validate(searched(backwards, trials=9)).spec)
    assert many[:4] == few
    other = changed(searched(SPACE, trials=4), ("spec", "training", "seed"), 8)
    assert [trial.values for trial in trial_specs(FineTuneJob.model_validate(other).spec)[1:]] != [
        trial.values for trial in few[1:]
    ]


def test_few_trials_already_cover_a_range() -> None:
    """Of twelve draws, each third of the orders of magnitude gets at least three: more even than chance."""
    job = FineTuneJob.model_validate(searched({"phases.head.learningRate": {"logUniform": [1e-5, 1e-2]}}, trials=13))
    rates = [trial.values["phases.head.learningRate"] for trial in trial_specs(job.spec)[1:]]
    for low in (1e-5, 1e-4, 1e-3):
        assert sum(low <= rate <= low * 10 for rate in rates) >= 3
    assert all(1e-5 <= rate <= 1e-2 for rate in rates)


def test_a_small_space_is_not_searched_twice() -> None:
    """Three dropouts, one of them the spec's own, make three trials."""
    job = FineTuneJob.model_validate(searched({"head.dropout": {"choice": [0, 0.2, 0.5]}}, trials=16))
    assert sorted(at(trial.spec, "head.dropout") for trial in trial_specs(job.spec)) == [0, 0.2, 0.5]


def test_a_default_written_out_is_no_trial_of_its_own() -> None:
    """It would train the same job twice."""
    content = searched({"augment": {"choice": [[], [{"flip": "both"}]]}, "head.dropout": {"choice": [0.2]}}, trials=4)
    del content["spec"]["features"], content["spec"]["augment"], content["spec"]["head"]["pooling"]
    content = changed(content, ("spec", "search", "space", "head.pooling"), {"choice": ["avg"]})
    found = trial_specs(FineTuneJob.model_validate(content).spec)
    assert [trial.values.get("augment") for trial in found] == [None, [{"flip": "both"}]]


def test_sections_may_vary_as_a_whole() -> None:
    """Another backbone; augmentation or none, which then needs no views."""
    backbones: list[Any] = [{"name": "ResNet50"}, {"path": "own.keras"}]
    space = {"backbone": {"choice": backbones}, "augment": {"choice": [[], [{"flip": "both"}]]}}
    content = searched(space, trials=9)
    del content["spec"]["features"]
    found = [trial.spec for trial in trial_specs(FineTuneJob.model_validate(content).spec)[1:]]
    assert len(found) == 4
    assert {str(spec["backbone"]) for spec in found} == set(map(str, backbones))
    assert {str(spec["augment"]) for spec in found} == {"[]", "[{'flip': 'both'}]"}


@pytest.mark.parametrize(
    ("space", "where", "said"),
    [
        ({"phases.haed.epochs": {"choice": [1]}}, '["phases.haed.epochs"]', "Did you mean `head`?"),
        ({"head.dropuot": {"choice": [0]}}, '["head.dropuot"]', "Did you mean `dropout`?"),
        ({"head.dropout": {"choice": [0, 1.5]}}, '["head.dropout"].choice[1]', "Use a number below 1."),
        ({"training.batchSize": {"uniform": [16.5, 32]}}, '["training.batchSize"].uniform[0]', "whole number"),
        ({"training.batchSize": {"uniform": [16, 32]}}, '["training.batchSize"].uniform[0]', "Use `integer`"),
        ({"head.dropout": {"choice": [0.2]}}, "space", "Add values, or remove `search`."),
        (
            {"phases.head.epochs": {"choice": [1, 2]}, "phases.0.epochs": {"choice": [3]}},
            '["phases.head.epochs"]',
            "each field once",
        ),
        (
            {"augment": {"choice": [[{"flip": "both"}]]}, "augment.0.flip": {"choice": ["vertical"]}},
            '["augment.0.flip"]',
            "each field once",
        ),
        (
            {"augment": {"choice": [[{"flip": "both"}], [{"flipp": "both"}]]}},
            "augment.choice[1]",
            "Did you mean `flip`",
        ),
        ({"phases": {"choice": [[]]}}, "phases", "Write section and field"),
        ({"heda.dropout": {"choice": [0]}}, '["heda.dropout"]', "Did you mean `head`?"),
        ({"data.train.uri": {"choice": ["x"]}}, '["data.train.uri"]', "Write section and field"),
        ({"training.seed": {"integer": [1, 9]}}, '["training.seed"]', "other than seed"),
        ({"phases.head.name": {"choice": ["x"]}}, '["phases.head.name"]', "names"),
        ({"augment.7.rotate": {"choice": [0.1]}}, '["augment.7.rotate"]', "a position from 0 to 1"),
        ({"head.dropout": {"uniform": [0.5, 0.1]}}, '["head.dropout"].uniform', "Exchange the two"),
        ({"head.dropout": {"logUniform": [0, 0.1]}}, '["head.dropout"].logUniform[0]', "1e-5"),
        ({"head.dropout": {}}, '["head.dropout"]', "Add one of them"),
        ({}, "space", "Add an entry"),
    ],
)
def test_a_wrong_space_is_explained(space: dict[str, Any], where: str, said: str) -> None:
    """With the place in the file, and the near name or the value that would do."""
    (problem,) = problems_of(searched(space))
    assert problem.where.removeprefix("spec.search.space").lstrip(".") == where or problem.where.endswith(where)
    assert said in f"{problem.expected} {problem.fix}"


def test_values_that_contradict_each_other_are_found_before_anything_is_spent() -> None:
    """Each is right beside the spec's own values, but not beside the other."""
    space = {"training.batchSize": {"choice": [6, 64]}, "training.gradientAccumulation": {"choice": [2, 4]}}
    content = changed(searched(space), ("spec", "scaling"), {"workers": 1})
    (problem,) = problems_of(changed(content, ("spec", "training", "batchSize"), 12))
    assert problem.where == "spec.search.space"
    assert "training.batchSize: 6" in problem.received
    assert "a divisor of `batchSize`" in problem.expected


def test_durations_are_explained() -> None:
    """A budget has a unit."""
    (problem,) = problems_of(searched({"head.dropout": {"choice": [0]}}, budget="30"))
    assert "30m" in problem.fix
    job = FineTuneJob.model_validate(searched({"head.dropout": {"choice": [0]}}, budget="30m"))
    assert job.spec.search is not None
    assert job.spec.search.budget_s == 1800


_PATHS = st.sampled_from([*SPACE, "head.hidden", "training.weightDecay", "phases.0.epochs", "phases.tune.warmupEpochs"])
_RANGES = st.one_of(
    st.builds(lambda low, more: {"uniform": [low, low + more]}, st.floats(-1, 2), st.floats(0.01, 2)),
    st.builds(lambda low, more: {"integer": [low, low + more]}, st.integers(-2, 9), st.integers(1, 9)),
    st.builds(lambda values: {"choice": values}, st.lists(st.one_of(st.integers(0, 9), st.floats(0, 1)), min_size=1)),
)


@given(st.dictionaries(_PATHS, _RANGES, min_size=1, max_size=3), st.integers(0, 99))
@settings(max_examples=60)
def test_every_trial_of_an_accepted_space_is_a_valid_job(space: dict[str, Any], seed: int) -> None:
    """Whatever is drawn."""
    content = changed(searched(space, trials=6), ("spec", "training", "seed"), seed)
    loaded, problems = check_text(yaml.safe_dump(content), file="job.yaml", base_dir=Path())
    assert bool(loaded) != bool(problems)
    for spec in loaded:
        assert isinstance(spec.object, FineTuneJob)
        for trial in trial_specs(spec.object.spec):
            assert problems_of({**JOB, "spec": trial.spec}) == []


def test_searched_sections_are_sections() -> None:
    """No name of a section is misspelt."""
    assert set(SEARCHED_SECTIONS) <= set(JOB["spec"])
