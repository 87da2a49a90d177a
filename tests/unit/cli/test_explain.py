from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from graftwork.cli.main import cli


def _explain(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["explain", *arguments])


def test_a_section_lists_its_fields() -> None:
    """Each with what it takes and its default."""
    result = _explain("FineTuneJob.spec.training.earlyStopping")
    assert result.exit_code == 0
    assert "patience\n  a whole number >= 1; default: 3" in result.stdout
    assert "minDelta" in result.stdout


def test_a_field_stands_alone() -> None:
    """Its neighbours are left out."""
    result = _explain("FineTuneJob.spec.training.batchSize")
    assert "batchSize" in result.stdout
    assert "seed" not in result.stdout


@pytest.mark.parametrize(
    ("place", "heading"),
    [
        ("phases.unfreeze", "FineTuneJob.spec.phases.unfreeze"),
        ("spec.cors", "InferenceEndpoint.spec.cors"),
        ("inferenceendpoint.spec.cors", "InferenceEndpoint.spec.cors"),
        ("finetunejob", "FineTuneJob.spec"),
    ],
)
def test_a_kind_may_be_left_to_be_guessed(place: str, heading: str) -> None:
    """Where one alone has the path; in any letters where it is named."""
    result = _explain(place)
    assert (result.exit_code, result.stdout.splitlines()[0].replace("[]", "")) == (0, heading)


def test_json_holds_the_same() -> None:
    """For programs."""
    section = json.loads(_explain("InferenceEndpoint.spec.limits", "-o", "json").stdout)
    assert {field["key"] for field in section["fields"]} >= {"maxRequestBytes", "maxImagePixels"}


@pytest.mark.parametrize(
    ("place", "hint"),
    [
        ("FineTuneJob.spec.phase", "`spec.phases`"),
        ("FineTuneJobs", "`FineTuneJob`"),
        ("kubernetes", "FineTuneJob.spec.kubernetes or InferenceEndpoint.spec.kubernetes"),
        ("fases", "The kinds are"),
        ("FineTuneJob.wrong", "It begins with spec"),
    ],
)
def test_a_wrong_place_gets_a_hint(place: str, hint: str) -> None:
    """Near names, or where to begin; exit code 2."""
    result = _explain(place)
    assert result.exit_code == 2
    assert hint in result.stderr
