"""The operator as a process of its own, started and killed by tests."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from graftwork.settings import child_environment


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class OperatorProcess:
    """One operator.

    Args:
        kubeconfig: of the cluster.
        name: its identity.
        namespaces: where it looks.
        log: file for what it prints.
        command: module and arguments.
        tracking_uri: the MLflow server; nobody answers at the default.
    """

    def __init__(
        self,
        kubeconfig: str,
        *,
        name: str,
        namespaces: str,
        log: Path,
        command: Sequence[str] = ("graftwork.controller.operator_main",),
        tracking_uri: str = "http://127.0.0.1:9",
    ) -> None:
        self._port = free_port()
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env=child_environment(
                    {
                        "KUBECONFIG": kubeconfig,
                        "POD_NAME": name,
                        "POD_NAMESPACE": "default",
                        "GRAFT_OPERATOR_NAMESPACES": namespaces,
                        "GRAFT_OPERATOR_METRICS_PORT": str(self._port),
                        "MLFLOW_TRACKING_URI": tracking_uri,
                    }
                ),
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def metric(self, name: str) -> float:
        """Sum of a series' values; 0 while nothing answers."""
        try:
            text = httpx.get(f"http://127.0.0.1:{self._port}/metrics", timeout=5).text
        except httpx.HTTPError:
            return 0.0
        lines = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def samples(self, name: str) -> dict[str, float]:
        """Values of a series by its labels as written."""
        text = httpx.get(f"http://127.0.0.1:{self._port}/metrics", timeout=5).text
        lines = [line for line in text.splitlines() if line.startswith(f"{name}{{")]
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}

    def kill(self) -> None:
        """No time for anything."""
        self._process.kill()
        self._process.wait(10)

    def stop(self) -> int:
        """As Kubernetes stops a pod; the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs, and less than nothing is the signal that ended it."""
        return self._process.poll()

    @property
    def is_running(self) -> bool:
        """Whether it lives."""
        return self.exit_code is None


@contextlib.contextmanager
def running_operator(kubeconfig: str, **options: Any) -> Iterator[OperatorProcess]:
    """An operator that runs inside the block; takes what `OperatorProcess` does."""
    operator = OperatorProcess(kubeconfig, **options)
    try:
        yield operator
    finally:
        if operator.is_running:
            operator.kill()


def eventually(holds: Callable[[], bool], what: str, *, within_s: float = 60) -> None:
    """Wait until something holds; look often, and no longer than needed."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(0.1)
