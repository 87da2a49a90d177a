from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import yaml

from graftwork.errors import Problem, SpecError
from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork.spec.load import check_text, load_only, load_specs
from tests.unit.spec.examples import ENDPOINT, JOB, changed, without


def problems_of(content: dict[str, Any] | str) -> list[Problem]:
    text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
    return check_text(text, file="job.yaml", base_dir=Path())[1]


def the_problem_of(content: dict[str, Any] | str) -> Problem:
    problems = problems_of(content)
    assert len(problems) == 1, problems
    return problems[0]


def test_valid_files_load_with_their_places(tmp_path: Path) -> None:
    """All documents of all files come back in order, with file, folder, position and line."""
    first = tmp_path / "both.yaml"
    first.write_text(f"# comment\n---\n{yaml.safe_dump(JOB)}---\n{yaml.safe_dump(ENDPOINT)}")
    second = tmp_path / "one.json"
    second.write_text(yaml.safe_dump(changed(JOB, ("metadata", "name"), "other"), default_flow_style=True))
    loaded = load_specs([first, second])
    assert [(spec.object.kind, spec.object.metadata.name, spec.document) for spec in loaded] == [
        ("FineTuneJob", "flowers", 0),
        ("InferenceEndpoint", "flowers", 1),
        ("FineTuneJob", "other", 0),
    ]
    assert {spec.base_dir for spec in loaded} == {tmp_path}
    assert loaded[1].raw == ENDPOINT
    assert first.read_text().splitlines()[loaded[1].line - 1].startswith("apiVersion")


def test_standard_input_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` reads standard input; relative paths start at the working directory."""
    stdin = io.TextIOWrapper(io.BytesIO(yaml.safe_dump(JOB).encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    (loaded,) = load_specs(["-"])
    assert (loaded.file, loaded.base_dir) == ("<stdin>", Path.cwd())


def test_the_only_object_of_a_kind_is_found(tmp_path: Path) -> None:
    """Other kinds may stand in the same file; none or several of the kind are refused."""
    file = tmp_path / "x.yaml"
    file.write_text(f"{yaml.safe_dump(ENDPOINT)}---\n{yaml.safe_dump(JOB)}")
    job, place = load_only(file, FineTuneJob)
    assert (job.kind, place.document) == ("FineTuneJob", 1)
    file.write_text(yaml.safe_dump(ENDPOINT))
    with pytest.raises(
        SpecError,
        match=r"0 objects of kind FineTuneJob.*`graft serve` takes the Infer",
    ):
        load_only(file, FineTuneJob)
    file.write_text(f"{yaml.safe_dump(JOB)}---\n{yaml.safe_dump(changed(JOB, ('metadata', 'name'), 'b'))}")
    with pytest.raises(SpecError, match=r"2 objects of kind FineTuneJob.*a file of its own"):
        load_only(file, FineTuneJob)


def test_every_error_of_every_file_is_reported_at_once(tmp_path: Path) -> None:
    """One call tells everything: several errors in one document, in several documents, in several files."""
    first = tmp_path / "a.yaml"
    bad_job = changed(changed(JOB, ("spec", "task"), "cooking"), ("spec", "scaling", "workers"), 0)
    first.write_text(
        f"{yaml.safe_dump(bad_job)}---\na: [\n---\n{yaml.safe_dump(without(ENDPOINT, ('spec', 'models')))}"
    )
    second = tmp_path / "b.yaml"
    second.write_text("kind: Job\n")
    with pytest.raises(SpecError) as caught:
        load_specs([first, second, tmp_path / "c.yaml"])
    places = [(Path(problem.file or "").name, problem.where) for problem in caught.value.problems]
    assert sorted(places) == [
        ("a.yaml", "document"),
        ("a.yaml", "spec.models"),
        ("a.yaml", "spec.scaling.workers"),
        ("a.yaml", "spec.task"),
        ("b.yaml", "kind"),
        ("c.yaml", "file"),
    ]


def test_cross_field_checks_run_beside_other_errors() -> None:
    """A wrong value elsewhere does not hide that two phases have one name."""
    broken = changed(JOB, ("spec", "phases", 1, "name"), "head")
    broken = changed(broken, ("spec", "phases", 0, "epochs"), 0)
    broken = changed(broken, ("spec", "training", "seed"), "seven")
    assert {problem.where for problem in problems_of(broken)} == {
        "spec.phases[1].name",
        "spec.phases[0].epochs",
        "spec.training.seed",
    }


def test_length_of_a_list_is_checked_beside_its_entries() -> None:
    """A wrong entry does not hide that the list is too short."""
    problems = problems_of(changed(JOB, ("spec", "input", "imageSize"), [1]))
    assert [problem.where for problem in problems] == ["spec.input.imageSize", "spec.input.imageSize[0]"]


def test_cross_field_checks_do_not_speak_of_replaced_values() -> None:
    """While `batchSize` is wrong, nobody can know whether it suffices for the workers."""
    broken = changed(JOB, ("spec", "scaling", "workers"), 1000)
    broken = changed(broken, ("spec", "training", "batchSize"), "many")
    assert [problem.where for problem in problems_of(broken)] == ["spec.training.batchSize"]


def test_line_and_path_point_at_the_value() -> None:
    """The line is that of the key, in a file with comments and several documents."""
    text = "\n# a comment\n---\n" + yaml.safe_dump(changed(JOB, ("spec", "phases", 1, "learningRate"), -1))
    problem = the_problem_of(text)
    assert problem.where == "spec.phases[1].learningRate"
    assert problem.line is not None
    assert text.splitlines()[problem.line - 1].strip() == "learningRate: -1"


@pytest.mark.parametrize(
    ("path", "value", "received", "expected", "fix"),
    [
        (("spec", "scaling", "workers"), 0, "0", "a whole number from 1 to 1024", "Use 1 or more."),
        (("spec", "scaling", "workers"), "2", '"2"', "a whole number from 1 to 1024", "Remove the quotes: 2."),
        (("spec", "scaling", "workers"), "two", '"two"', "a whole number from 1 to 1024", "Use a whole number."),
        (("spec", "scaling", "workers"), 2.0, "2.0", "a whole number", "Write it as a whole number: 2."),
        (("spec", "scaling", "workers"), True, "true", "a whole number", "Use a whole number."),
        (("spec", "scaling", "workers"), None, "nothing (null)", "a whole number", "Give a value, or remove the key."),
        (("spec", "scaling", "workers"), [1], "a list of 1 entry", "a whole number", "Write a single value"),
        (("spec", "phases", 0, "learningRate"), 11, "11", "a number > 0 and <= 10", "Use 10 or less."),
        (("spec", "phases", 0, "learningRate"), 0, "0", "a number > 0 and <= 10", "Use a number above 0."),
        (("spec", "phases", 0, "learningRate"), float("nan"), ".nan", "a number", "Use an ordinary number."),
        (("spec", "head", "dropout"), 1, "1", "a number >= 0 and < 1", "Use a number below 1."),
        (("spec", "training", "optimizer"), "adm", '"adm"', "`adam`, `adamw` or `sgd`", "Did you mean `adam`"),
        (
            ("spec", "phases", 0, "unfreeze"),
            "nonee",
            '"nonee"',
            "`none`, `all` or `lora`, or a mapping",
            "Did you mean `none`?",
        ),
        (("spec", "phases", 0, "unfreeze"), 3, "3", "`none`, `all` or `lora`, or a mapping", "Use one of them."),
        (("spec", "phases", 0, "unfreeze"), {}, "none of them", "exactly one of `lastLayers`", "Add one of them."),
        (("spec", "phases", 0, "name"), 1, "1", "a name of lower-case letters", 'Put it in quotes: "1".'),
        (("spec", "phases", 0, "name"), "My Head", '"My Head"', "a name of lower-case letters", "Use `my-head`."),
        (("spec", "input", "imageSize"), [64], "a list of 1 entry", "a list of 2 entries", "Add 1 more."),
        (("spec", "input", "imageSize"), [64, 64, 3], "a list of 3 entries", "a list of 2 entries", "Remove 1."),
        (("spec", "input", "imageSize"), 224, "224", "a list of 2 entries", "Write it as a list"),
        (("spec", "phases"), [], "a list of 0 entries", "a list with at least 1 entry", "Add 1 more."),
        (("spec", "head"), 5, "5", "a mapping with keys out of `pooling`", "Write it as a mapping, such as `pooling"),
        (("spec", "backbone"), {}, "none of them", "exactly one of `name`, `preset`, `path`", "Add one of them."),
        (("spec", "augment", 0, "zoom"), 0.1, "`flip` and `zoom`", "exactly one of", "Keep one and remove the rest."),
        (("metadata", "labels", "team"), "a b!", '"a b!"', "a label value", "Use `a-b`."),
        (("spec", "kubernetes"), {"deadline": 3600}, "3600", "a time such as", "Write a whole number with s, m or h"),
        (("metadata", "labels", "team"), 5, "5", "a label value", 'Put it in quotes: "5".'),
    ],
)
def test_wrong_value_is_explained(
    path: tuple[str | int, ...], value: Any, received: str, expected: str, fix: str
) -> None:
    """A wrong value gives one problem that says what came, what is allowed and what to do."""
    problem = the_problem_of(changed(JOB, path, value))
    assert problem.received == received
    assert expected in problem.expected
    assert fix in problem.fix


@pytest.mark.parametrize(
    ("path", "where", "fix"),
    [
        (("spec", "phases", 0, "epoch"), "spec.phases[0].epoch", "Remove it."),
        (("spec", "head", "droput"), "spec.head.droput", "Remove it."),
        (("spec", "head", "aktivation"), "spec.head.aktivation", "Did you mean `activation`?"),
        (("spec", "training", "weight_decay"), "spec.training.weight_decay", "Did you mean `weightDecay`?"),
        (("spec", "batchSize"), "spec.batchSize", "`batchSize` belongs in `spec.training`: move it there."),
        (("spec", "phases", 1, "unfreeze", "fraktion"), "spec.phases[1].unfreeze.fraktion", "`fraction`"),
        (("metadata", "lables"), "metadata.lables", "Remove it."),
        (("extra",), "extra", "Remove it."),
    ],
)
def test_unknown_key_is_explained(path: tuple[str | int, ...], where: str, fix: str) -> None:
    """An unknown key is named, with the key it may have meant (one that is not there yet) or the place it belongs."""
    problems = [problem for problem in problems_of(changed(JOB, path, 1)) if "unknown key" in problem.received]
    assert [problem.where for problem in problems] == [where]
    assert fix in problems[0].fix


def test_misspelt_required_key_is_one_problem() -> None:
    """`learning_rate` is not also reported as a missing `learningRate`."""
    broken = changed(without(JOB, ("spec", "phases", 0, "learningRate")), ("spec", "phases", 0, "learning_rate"), 0.1)
    problem = the_problem_of(broken)
    assert "Did you mean `learningRate`?" in problem.fix


@pytest.mark.parametrize(
    ("path", "value", "key", "meant"),
    [
        (("spec", "phases", 0), {"name": "head", "epochs": 3, "lr": 0.1}, "lr", "learningRate"),
        (("spec", "data", "train"), {"path": "flowers"}, "path", "uri"),
        (("spec", "data", "val"), {"fraction": 0.1}, "val", "validation"),
        (("spec", "data", "validation"), {"split": 0.1}, "split", "fraction"),
        (("spec", "training"), {"random_seed": 3}, "random_seed", "seed"),
        (("spec", "input", "max_length"), 128, "max_length", "maxTokens"),
    ],
)
def test_names_of_other_libraries_are_known(path: tuple[str | int, ...], value: Any, key: str, meant: str) -> None:
    """The field that they stand for is named, and is not reported as missing besides."""
    job = without(JOB, ("spec", "data", "validation")) if key == "val" else JOB
    problems = problems_of(changed(job, path, value))
    assert [problem.fix for problem in problems if f"`{key}`" in problem.received] == [f"Did you mean `{meant}`?"]
    assert not [problem for problem in problems if problem.received == "nothing"]


def test_missing_key_says_what_it_is_for() -> None:
    """A missing key comes with its meaning."""
    problem = the_problem_of(without(JOB, ("spec", "phases", 0, "epochs")))
    assert (problem.where, problem.received) == ("spec.phases[0].epochs", "nothing")
    assert "how often to go through the training data" in problem.fix


@pytest.mark.parametrize(
    ("path", "value", "where", "expected"),
    [
        (("spec", "phases", 1, "name"), "head", "spec.phases[1].name", "a name of its own"),
        (("spec", "scaling", "workers"), 33, "spec.scaling.workers", "at least one example a worker"),
        (("spec", "scaling", "gpusPerWorker"), 0.5, "spec.scaling.gpusPerWorker", "1 with several workers"),
        (("spec", "training", "gradientAccumulation"), 3, "spec.training.gradientAccumulation", "a divisor"),
        (("spec", "phases", 1, "warmupEpochs"), 5, "spec.phases[1].warmupEpochs", "fewer than `epochs`"),
        (("spec", "data", "test"), {"fraction": 0.8}, "spec.data.test.fraction", "less than 1"),
        (("spec", "data", "validation", "format"), "csv", "spec.data.validation.format", "nothing: the examples"),
        (("spec", "data", "extraTests", 0, "name"), "test", "spec.data.extraTests[0].name", "a name of its own"),
        (("spec", "evaluation", "gates", 0, "min"), 90, "spec.evaluation.gates[0].min", "a share from 0 to 1"),
        (("spec", "evaluation", "gates", 0, "max"), 0.5, "spec.evaluation.gates[0].max", "`max` >= `min`"),
        (("spec", "evaluation", "gates", 0), {"metric": "loss"}, "spec.evaluation.gates[0]", "at least one of"),
        (("spec", "register"), None, "spec.evaluation.gates[1].notWorseThan", "a `register` section"),
        (("spec", "augment"), [], "spec.features.views", "an `augment` section"),
        (("spec", "features"), {"views": 2, "cache": "none"}, "spec.features.views", "`cache: auto`"),
    ],
)
def test_fields_that_contradict_each_other_are_explained(
    path: tuple[str | int, ...], value: Any, where: str, expected: str
) -> None:
    """Fields that are right one by one but not together give one problem at the field to change."""
    problem = the_problem_of(changed(JOB, path, value))
    assert problem.where == where
    assert expected in problem.expected
    assert problem.fix


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        (("spec", "autoscaling", "minReplicas"), 3, "spec.autoscaling.maxReplicas"),
        (("spec", "models", 1), {"model": "flowers@champion", "traffic": 10}, "spec.models[1]"),
        (("spec", "models", 1, "traffic"), 20, "spec.models[1].traffic"),
        (("spec", "http", "port"), 65536, "spec.http.port"),
        (("spec", "models"), [], "spec.models"),
    ],
)
def test_wrong_endpoint_is_explained(path: tuple[str | int, ...], value: Any, where: str) -> None:
    """The checks of an InferenceEndpoint speak the same way."""
    assert the_problem_of(changed(ENDPOINT, path, value)).where == where


@pytest.mark.parametrize(
    ("kind", "fix"), [("FinetuneJob", "Did you mean `FineTuneJob`?"), ("Pod", "Use one of them"), (None, "Add `kind:")]
)
def test_unknown_kind_is_explained(kind: str | None, fix: str) -> None:
    """A kind Graftwork does not know is the only thing said about its document."""
    problem = the_problem_of(without(JOB, ("kind",)) if kind is None else changed(JOB, ("kind",), kind))
    assert problem.where == "kind"
    assert fix in problem.fix


def test_wrong_api_version_is_explained() -> None:
    """The version to write is named."""
    problem = the_problem_of(changed(JOB, ("apiVersion",), "graftwork.dev/v1"))
    assert problem.fix == "Write `graftwork.dev/v1alpha1`."


def test_what_a_cluster_adds_is_left_out() -> None:
    """The output of `kubectl get -o yaml` is a valid spec."""
    stored = changed(changed(JOB, ("metadata", "uid"), "1-2"), ("status",), {"phase": "Running"})
    assert problems_of(changed(stored, ("metadata", "creationTimestamp"), "2026-01-01T00:00:00Z")) == []


def test_a_document_with_a_key_twice_is_not_called_valid() -> None:
    """Others in the same file are."""
    twice = yaml.safe_dump(JOB) + "kind: FineTuneJob\n"
    other = yaml.safe_dump(changed(JOB, ("metadata", "name"), "other"))
    loaded, problems = check_text(f"{other}---\n{twice}", file="jobs.yaml", base_dir=Path())
    assert [spec.object.metadata.name for spec in loaded] == ["other"]
    assert len(problems) == 1


def test_same_name_twice_in_a_file_is_refused() -> None:
    """Two objects of one kind and name in a file would overwrite each other in a cluster."""
    problem = the_problem_of(f"{yaml.safe_dump(JOB)}---\n{yaml.safe_dump(JOB)}")
    assert problem.where == "metadata.name"
    assert "in line 1" in problem.received


@pytest.mark.parametrize(
    ("data", "received"),
    [
        (b"", "an empty file"),
        (b"# nothing\n---\n", "no document"),
        (b"\xff\xfe", "the byte 0xff at position 0"),
        (b"[1, 2]", "a list of 2 entries"),
        (b"just words", '"just words"'),
    ],
)
def test_file_without_a_spec_is_explained(tmp_path: Path, data: bytes, received: str) -> None:
    """Files that hold no spec are refused with what they hold."""
    file = tmp_path / "x.yaml"
    file.write_bytes(data)
    with pytest.raises(SpecError) as caught:
        load_specs([file])
    assert caught.value.problems[0].received == received


def test_missing_file_suggests_a_neighbour(tmp_path: Path) -> None:
    """A mistyped file name finds the file beside it."""
    (tmp_path / "flowers.yaml").write_text("")
    with pytest.raises(SpecError, match=r"no such file.*Did you mean `flowers.yaml`\?"):
        load_specs([tmp_path / "flower.yaml"])
    with pytest.raises(SpecError, match="There is no folder"):
        load_specs([tmp_path / "none" / "flower.yaml"])
    with pytest.raises(SpecError, match="a folder"):
        load_specs([tmp_path])


def test_a_stored_spec_loads_again() -> None:
    """A job written out with all its defaults is the same job when read back."""
    job = FineTuneJob.model_validate(JOB)
    text = yaml.safe_dump(job.model_dump(mode="json", by_alias=True))
    (loaded,), problems = check_text(text, file="x", base_dir=Path())
    assert problems == []
    assert loaded.object == job
