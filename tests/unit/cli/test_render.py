from __future__ import annotations

from pathlib import Path

import yaml
from click.testing import CliRunner

from graftwork.cli.main import cli

ROOT = Path(__file__).parents[3]


def test_render_prints_what_the_operator_makes() -> None:
    """Jobs become RayJobs and endpoints RayServices, in the namespace asked for, without a cluster."""
    files = [str(ROOT / "jobs/specs/emoji10.yaml"), str(ROOT / "serving/specs/emoji10.yaml")]
    answer = CliRunner().invoke(cli, ["render", *files, "-n", "team"])
    assert answer.exit_code == 0, answer.output
    objects = list(yaml.safe_load_all(answer.output))
    assert {"RayJob", "RayService", "NetworkPolicy", "ConfigMap"} <= {each["kind"] for each in objects}
    assert {each["metadata"]["namespace"] for each in objects} == {"team"}
