from __future__ import annotations

from pathlib import Path

import yaml
from click.testing import CliRunner

from graftwork.cli.main import cli

ROOT = Path(__file__).parents[3]


def test_render_prints_what_the_operator_makes() -> None:
    """Jobs become RayJobs and endpoints RayServices, in the namespace asked for, without a cluster."""
    files = [str(ROOT / folder / "specs/emoji10-kubernetes.yaml") for folder in ("jobs", "serving")]
    answer = CliRunner().invoke(cli, ["render", *files, "-n", "team"])
    assert answer.exit_code == 0, answer.output
    objects = list(yaml.safe_load_all(answer.output))
    assert {"RayJob", "RayService", "NetworkPolicy", "ConfigMap"} <= {each["kind"] for each in objects}
    assert {each["metadata"]["namespace"] for each in objects} == {"team"}


def test_render_prints_the_next_run_of_a_schedule(tmp_path: Path) -> None:
    """A job with a schedule becomes FineTuneJobs: the next one is named after the time at which it begins."""
    job = tmp_path / "job.yaml"
    job.write_text((ROOT / "jobs/specs/emoji10-kubernetes.yaml").read_text() + '  schedule: {cron: "15 3 * * *"}\n')
    answer = CliRunner().invoke(cli, ["render", str(job)])
    assert answer.exit_code == 0, answer.output
    (run,) = yaml.safe_load_all(answer.output)
    assert run["kind"] == "FineTuneJob"
    assert run["metadata"]["name"].startswith("emoji10-20")
    assert run["metadata"]["name"].endswith("0315")
    assert "schedule" not in run["spec"]


def test_pods_have_none_of_the_files_beside_a_spec() -> None:
    """Each relative path is named, with what to use instead."""
    answer = CliRunner().invoke(cli, ["render", str(ROOT / "jobs/specs/emoji10.yaml")])
    assert answer.exit_code == 2
    for where in ("data.train.uri", "data.test.uri", "data.extraTests[0].uri", "backbone.path"):
        assert where in answer.stderr
    assert "jobs/specs/emoji10.yaml:13: spec.data.train.uri" in answer.stderr
    assert "kubernetes.volumes" in answer.stderr


def test_an_endpoint_on_a_cluster_says_who_may_ask() -> None:
    """Without a word about it, it is not made; the error says how to."""
    answer = CliRunner().invoke(cli, ["render", str(ROOT / "serving/specs/emoji10.yaml")])
    assert answer.exit_code == 2
    assert "secretName" in answer.stderr
