from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from graftwork.cli.main import cli
from graftwork.spec.schema import schema_of, schema_of_any_kind


@pytest.mark.parametrize(
    ("arguments", "schema"), [([], schema_of_any_kind()), (["FineTuneJob"], schema_of("FineTuneJob"))]
)
def test_prints_the_schema(arguments: list[str], schema: dict[str, object]) -> None:
    """The JSON Schema of one kind, or of all."""
    result = CliRunner().invoke(cli, ["schema", *arguments])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == schema


def test_unknown_kind_suggests_a_near_one() -> None:
    """A mistyped kind finds the one that was meant."""
    result = CliRunner().invoke(cli, ["schema", "finetunejob"])
    assert result.exit_code == 2
    assert "Did you mean `FineTuneJob`?" in result.stderr
