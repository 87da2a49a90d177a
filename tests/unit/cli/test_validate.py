from __future__ import annotations

import json
from pathlib import Path

import yaml
from click.testing import CliRunner

from graftwork.cli.main import cli
from tests.unit.spec.examples import ENDPOINT, JOB, changed


def test_valid_files_are_named(tmp_path: Path) -> None:
    """Exit code 0 and a line for each object."""
    file = tmp_path / "x.yaml"
    file.write_text(f"{yaml.safe_dump(JOB)}---\n{yaml.safe_dump(ENDPOINT)}")
    result = CliRunner().invoke(cli, ["validate", str(file)])
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{file}: FineTuneJob flowers is valid",
        f"{file}: InferenceEndpoint flowers is valid",
    ]


def test_errors_are_listed_and_counted(tmp_path: Path) -> None:
    """Exit code 2 and a line for each problem on stderr."""
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump(changed(changed(JOB, ("spec", "x"), 1), ("spec", "task"), "y")))
    result = CliRunner().invoke(cli, ["validate", str(file)])
    assert result.exit_code == 2
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    assert lines[-1] == "2 errors"


def test_json_lists_objects_and_problems() -> None:
    """`-o json` prints one document, also for standard input."""
    result = CliRunner().invoke(cli, ["validate", "-", "-o", "json"], input=yaml.safe_dump(JOB) + "---\nkind: Pod\n")
    assert result.exit_code == 2
    answer = json.loads(result.stdout)
    assert answer["valid"] is False
    assert [each["name"] for each in answer["objects"]] == ["flowers"]
    assert [set(each) for each in answer["problems"]] == [{"file", "line", "where", "received", "expected", "fix"}]
