"""The operator killed at every point of both life cycles, beside KubeRay's operator and without a node.

A default run takes a few points of each life, `-m slow` all of them.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from graftwork.controller.cluster import connect
from graftwork.controller.names import MANAGED_BY, MANAGED_LABEL, progress_name
from graftwork.controller.reconcile import RAY
from graftwork.spec.base import API_VERSION
from tests.e2e.conftest import Kubectl
from tests.e2e.crash_lives import LIVES, Life, Object, Step, lived
from tests.e2e.kuberay import KubeRay, running_kuberay
from tests.e2e.operators import OperatorProcess, eventually, running_operator

NAMESPACE = "e2e-killed"
_OWNED = "serviceaccounts,configmaps,roles,rolebindings,networkpolicies,poddisruptionbudgets,services,ingresses"


def _table() -> Iterator[Any]:
    """Every point of every life; those at which something is half made are part of each run."""
    for name, life in LIVES.items():
        points = lived(life).points
        made = points.index(f"after apply {life.made} 1")
        few = {points[1], points[made], points[-1]}
        for point in points:
            yield pytest.param(life, point, id=f"{name}-{point}", marks=[] if point in few else [pytest.mark.slow])


class _Registry(BaseHTTPRequestHandler):
    """The one call of MLflow's that the operator makes."""

    version = "1"

    def do_GET(self) -> None:
        """Which version has the alias."""
        text = json.dumps({"model_version": {"version": type(self).version}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 (the base class calls it so)
        """Nothing: the operator asks every second."""


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    """URI of a model registry."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Registry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def kuberay(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeRay]:
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    log = tmp_path_factory.mktemp("kuberay") / "operator.log"
    with running_kuberay(kubectl, namespace=NAMESPACE, log=log) as kuberay:
        yield kuberay
        kubectl("delete", "namespace", NAMESPACE, "--timeout=60s")


class Real:
    """The `World` of a life on the test's cluster."""

    def __init__(self, life: Life, kubectl: Kubectl, kuberay: KubeRay, registry: str, log: Path) -> None:
        self._life, self._kubectl, self._kuberay = life, kubectl, kuberay
        self._cluster, _ = connect(kubectl.kubeconfig)
        # As the container that is started again in its pod, the next operator has the name of the one before it.
        self._running = partial(
            running_operator,
            kubectl.kubeconfig,
            name="killed",
            namespaces=NAMESPACE,
            log=log,
            tracking_uri=registry,
        )

    def operator(self) -> contextlib.AbstractContextManager[OperatorProcess]:
        return self._running()

    def operator_until(self, point: str) -> contextlib.AbstractContextManager[OperatorProcess]:
        return self._running(command=("tests.e2e.crash_operator", point))

    def apply(self, content: Object) -> None:
        self._kubectl.apply({**content, "metadata": {"name": "flowers", "namespace": NAMESPACE}})

    def delete(self) -> None:
        self._cluster.delete(API_VERSION, self._life.kind, NAMESPACE, "flowers")

    def move_alias(self, version: str) -> None:
        _Registry.version = version

    def pods_bring(self, **status: Any) -> None:
        name = self._made()
        eventually(
            lambda: "rayClusterName" in json.dumps(self._cluster.get(RAY, self._life.made, NAMESPACE, name)), "KubeRay"
        )
        self._kuberay.stands_still(self._life.made, name, status)

    def driver_reports(self, **report: Any) -> None:
        found = {"apiVersion": "v1", "kind": "ConfigMap"}
        metadata = {"name": progress_name(self._made()), "namespace": NAMESPACE}
        self._cluster.merge({**found, "metadata": metadata}, {"data": {"progress.json": json.dumps(report)}})

    def status(self) -> Object | None:
        found = self._cluster.get(API_VERSION, self._life.kind, NAMESPACE, "flowers")
        return None if found is None else found.get("status", {})

    def left(self) -> str:
        """What there is of the object's."""
        ray = self._kubectl("get", "rayjobs,rayservices,rayclusters", "-n", NAMESPACE, "-o", "name")
        owned = self._kubectl("get", _OWNED, "-n", NAMESPACE, "-l", f"{MANAGED_LABEL}={MANAGED_BY}", "-o", "name")
        return ray.stdout + owned.stdout

    def live(self, step: Step, log: Path, *, or_else: OperatorProcess | None = None) -> None:
        """Let a step happen, or only wait for what comes of it, until it is seen or an operator has ended."""
        eventually(
            lambda: step.seen(self.status()) or (or_else is not None and not or_else.is_running),
            f"step {self._life.steps.index(step) + 1}, last seen {self.status()}, log in {log}",
        )

    def _made(self) -> str:
        name: str = (self.status() or {})[f"{self._life.made[0].lower()}{self._life.made[1:]}"]
        return name


@contextlib.contextmanager
def _all_made(kubectl: Kubectl, kind: str) -> Iterator[list[str]]:
    """Afterwards, name and uid of every object of a kind that there was inside the block."""
    command = [shutil.which("kubectl") or "", "--kubeconfig", kubectl.kubeconfig, "get", kind, "-n", NAMESPACE]
    line = '{.metadata.name} {.metadata.uid}{"\\n"}'
    made: list[str] = []
    with subprocess.Popen([*command, "--watch", f"-o=jsonpath={line}"], stdout=subprocess.PIPE, text=True) as watch:
        try:
            yield made
        finally:
            watch.terminate()
            made += sorted(set(watch.stdout or ()))


@pytest.mark.parametrize(("life", "point"), list(_table()))
def test_the_end_is_reached(
    life: Life, point: str, kubectl: Kubectl, kuberay: KubeRay, registry: str, tmp_path: Path
) -> None:
    """Killed at the point and started again, the operator ends the life; each RayJob or RayService was made once."""
    log = tmp_path / "operator.log"
    world = Real(life, kubectl, kuberay, registry, log)
    world.move_alias("1")
    with _all_made(kubectl, life.made) as made, contextlib.ExitStack() as operators:
        first = operators.enter_context(world.operator_until(point))
        second: OperatorProcess | None = None
        for step in life.steps:
            kuberay.goes_on()
            step.happens(world)
            world.live(step, log, or_else=first if second is None else None)
            if second is None and not first.is_running:
                second = operators.enter_context(world.operator())
                world.live(step, log)
        eventually(lambda: not first.is_running, f"the point is passed, log in {log}")
        assert first.exit_code == -signal.SIGKILL
        eventually(lambda: world.left() == "", "garbage collection")
    assert [line.split()[0] for line in made] == sorted(lived(life).made)
