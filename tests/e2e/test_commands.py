"""`graft` against a real API server."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from graftwork.cli.main import cli
from tests.e2e.conftest import Kubectl
from tests.unit.spec.examples import JOB, changed


@pytest.fixture
def graft(kubectl: Kubectl, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Graft:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", kubectl.kubeconfig)
    return Graft(namespace)


class Graft:
    """The command, in one namespace."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, [*arguments, "-n", self._namespace])


def test_submit_status_stop_delete(graft: Graft, kubectl: Kubectl, namespace: str, tmp_path: Path) -> None:
    """A job's life from the command line."""
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(JOB))
    submitted = graft("submit", str(file))
    assert submitted.exit_code == 0, submitted.output
    assert "flowers" in graft("status").output
    assert "OperatorAbsent" in graft("why", "flowers").output
    assert graft("stop", "flowers").exit_code == 0
    assert kubectl.get("ftj", "flowers", "-n", namespace)["spec"]["kubernetes"]["suspend"] is True
    assert graft("stop", "--resume", "flowers").exit_code == 0
    assert kubectl.get("ftj", "flowers", "-n", namespace)["spec"]["kubernetes"]["suspend"] is False
    no_pod = graft("logs", "flowers")
    assert no_pod.exit_code == 1
    assert "graft why flowers" in no_pod.output
    assert graft("delete", "flowers").exit_code == 0
    gone = graft("status", "flowers")
    assert gone.exit_code == 2
    assert "no job and no endpoint" in gone.output


def test_submit_is_refused_in_our_words_before_the_cluster_is_asked(graft: Graft, tmp_path: Path) -> None:
    """A wrong spec never leaves this machine."""
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(changed(JOB, ("spec", "scaling", "workers"), 0)))
    refused = graft("submit", str(file))
    assert refused.exit_code == 2
    assert "spec.scaling.workers" in refused.output
