"""What the API server accepts and refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from graftwork.errors import SpecError
from graftwork.spec.load import check_text
from tests.e2e.conftest import Kubectl
from tests.unit.spec.bad_specs import BAD_SPECS, ONLY_THE_OPERATOR_KNOWS
from tests.unit.spec.examples import ENDPOINT, JOB

ROOT = Path(__file__).parents[2]
SPEC_FILES = sorted((*ROOT.glob("jobs/specs/*.yaml"), *ROOT.glob("serving/specs/*.yaml")))


def _try(kubectl: Kubectl, content: Any) -> tuple[bool, str]:
    answer = kubectl("create", "--dry-run=server", "-f", "-", content=content)
    return answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("file", SPEC_FILES, ids=lambda file: file.name)
def test_every_example_spec_is_accepted(kubectl: Kubectl, file: Path) -> None:
    """`kubectl apply` takes the very files that `graft run` and `graft serve` take."""
    answer = kubectl("apply", "--dry-run=server", "-f", str(file))
    assert answer.returncode == 0, answer.stderr


def test_there_are_examples() -> None:
    """The test above looked at something."""
    assert len(SPEC_FILES) >= 2


@pytest.mark.parametrize("example", [JOB, ENDPOINT], ids=["job", "endpoint"])
def test_specs_with_every_section_are_accepted(kubectl: Kubectl, example: dict[str, Any]) -> None:
    """What the models accept, the API server accepts."""
    accepted, error = _try(kubectl, example)
    assert accepted, error


@pytest.mark.parametrize("name", sorted(BAD_SPECS))
def test_bad_specs_are_refused_with_the_field(kubectl: Kubectl, name: str) -> None:
    """What the models refuse, the API server refuses, and names the field."""
    bad = BAD_SPECS[name]
    accepted, error = _try(kubectl, bad.content)
    assert not accepted
    assert bad.names in error


@pytest.mark.parametrize("name", sorted(ONLY_THE_OPERATOR_KNOWS))
def test_what_a_schema_cannot_say_passes(kubectl: Kubectl, name: str) -> None:
    """The list of what is left to the operator is true: none of it is refused at apply time."""
    accepted, error = _try(kubectl, ONLY_THE_OPERATOR_KNOWS[name].content)
    assert accepted, error


def test_defaults_are_those_of_the_models(kubectl: Kubectl, namespace: str) -> None:
    """What the API server fills in is what the models would have: the object means the same as the file."""
    from graftwork.spec.fine_tune_job import FineTuneJob

    small = {
        **JOB,
        "spec": {
            "task": "image-classification",
            "backbone": {"name": "ResNet50"},
            "data": {"train": {"uri": "s3://bucket/train"}},
            "phases": [{"name": "head", "epochs": 1, "learningRate": 0.001}],
        },
    }
    kubectl.apply(small, "-n", namespace)
    stored = kubectl.get("finetunejob", "flowers", "-n", namespace)
    assert FineTuneJob.model_validate(stored).spec == FineTuneJob.model_validate(small).spec
    assert stored["spec"]["training"]["batchSize"] == 32


def test_endpoints_scale(kubectl: Kubectl, namespace: str) -> None:
    """`kubectl scale` sets the replicas kept while idle."""
    kubectl.apply(ENDPOINT, "-n", namespace)
    answer = kubectl("scale", "inferenceendpoint/flowers", "--replicas=2", "-n", namespace)
    assert answer.returncode == 0, answer.stderr
    stored = kubectl.get("iep", "flowers", "-n", namespace)
    assert stored["spec"]["autoscaling"]["minReplicas"] == 2


def test_stored_objects_are_specs_again(kubectl: Kubectl, namespace: str) -> None:
    """`kubectl get -o yaml` gives a file that `graft` takes."""
    kubectl.apply(JOB, "-n", namespace)
    stored = kubectl.get("ftj", "flowers", "-n", namespace)
    loaded, problems = check_text(yaml.safe_dump(stored), file="stored.yaml", base_dir=ROOT)
    assert (len(loaded), problems) == (1, []), SpecError(problems)
