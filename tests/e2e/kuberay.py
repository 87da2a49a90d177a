"""KubeRay's operator as a process of its own, which stands still while a test plays its pods' part."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graftwork.settings import child_environment
from tests.e2e.conftest import Kubectl
from tests.e2e.operators import free_port


class KubeRay:
    """KubeRay's operator on a cluster without nodes.

    Args:
        kubectl: the cluster.
        namespace: where it looks.
        log: file for what it prints.
    """

    def __init__(self, kubectl: Kubectl, *, namespace: str, log: Path) -> None:
        command = shutil.which("ray-operator")
        if command is None or kubectl("get", "crd", "rayjobs.ray.io").returncode != 0:
            pytest.skip("needs KubeRay: set KUBERAY_SOURCE and KUBERAY_CRDS, see tests/e2e/run.sh")
        self._kubectl, self._namespace = kubectl, namespace
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                [
                    command,
                    f"--watch-namespace={namespace}",
                    f"--metrics-addr=127.0.0.1:{free_port()}",
                    f"--health-probe-bind-address=127.0.0.1:{free_port()}",
                    "--enable-leader-election=false",
                ],
                env=child_environment({"KUBECONFIG": kubectl.kubeconfig}),
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    def goes_on(self) -> None:
        """It works again."""
        os.kill(self._process.pid, signal.SIGCONT)

    def stands_still(self, kind: str, name: str, status: dict[str, Any]) -> None:
        """From now on it sees nothing, and an object has the status that it would give it if there were pods."""
        os.kill(self._process.pid, signal.SIGSTOP)
        where = ("-n", self._namespace, "--subresource=status", "--type=merge")
        patched = self._kubectl("patch", kind, name, *where, "-p", json.dumps({"status": status}))
        assert patched.returncode == 0, patched.stderr

    def end(self) -> None:
        """No time for anything."""
        self._process.kill()
        self._process.wait(10)


@contextlib.contextmanager
def running_kuberay(kubectl: Kubectl, *, namespace: str, log: Path) -> Iterator[KubeRay]:
    """KubeRay's operator, which runs inside the block."""
    kuberay = KubeRay(kubectl, namespace=namespace, log=log)
    try:
        yield kuberay
    finally:
        kuberay.end()
