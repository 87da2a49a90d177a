"""What the test of a whole life on a cluster is made of: objects, and steps that are timed."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from graftwork.cli.main import cli
from tests.e2e.conftest import Kubectl

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "graftwork"
VERSION = (ROOT / "platform/graftwork/__init__.py").read_text().split('__version__ = "')[1].split('"')[0]
RELEASE = "graft-system"
CLAIM = "graft-data"
PICTURE = "/data/ask.png"
KEYS = "emoji-keys"


def job(name: str, *, epochs: int, learning_rate: float) -> dict[str, Any]:
    """A small job on two workers, whose data and backbone stand on a volume."""
    return {
        "apiVersion": "graftwork.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": name},
        "spec": {
            "task": "image-classification",
            "backbone": {"path": "/data/efficientnet_lite0/efficientnet_lite0.keras"},
            "input": {"imageSize": [96, 96]},
            "data": {
                "train": {"uri": "/data/emoji10/google-train"},
                "validation": {"fraction": 0.15},
                "test": {"uri": "/data/emoji10/google-test"},
            },
            "phases": [
                {"name": "head", "epochs": 8, "learningRate": 0.003},
                {
                    "name": "tune",
                    "epochs": epochs,
                    "learningRate": learning_rate,
                    "unfreeze": {"fromLayer": "block6a"},
                },
            ],
            "training": {"batchSize": 32, "seed": 7},
            "scaling": {"workers": 2, "checkpointEverySeconds": 5, "preflight": "none"},
            "evaluation": {"gates": [{"metric": "accuracy", "min": 0.5}]},
            "register": {"model": "emoji", "alias": "champion"},
            "kubernetes": {
                "storage": "/data/runs",
                "memory": "3Gi",
                "volumes": [{"claim": CLAIM, "path": "/data"}],
            },
        },
    }


def endpoint(*, min_replicas: int = 1, max_replicas: int = 1, rollout: dict[str, Any] | None = None) -> dict[str, Any]:
    """The endpoint of what the jobs register."""
    return {
        "apiVersion": "graftwork.dev/v1alpha1",
        "kind": "InferenceEndpoint",
        "metadata": {"name": "emoji"},
        "spec": {
            "models": [{"model": "emoji@champion"}],
            "auth": {"apiKeys": {"secretName": KEYS}},
            "resources": {"cpus": 1},
            "autoscaling": {
                "minReplicas": min_replicas,
                "maxReplicas": max_replicas,
                "targetOngoingRequests": 2,
                "downscaleDelaySeconds": 20,
            },
            "kubernetes": {"memory": "2Gi"},
            "rollout": rollout or {},
        },
    }


@dataclass
class Times:
    """How long each step took."""

    steps: list[tuple[str, float]] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time the block, and say so."""
        began = time.monotonic()
        yield
        self.steps.append((name, time.monotonic() - began))
        print(f"{self.steps[-1][1]:7.1f} s  {name}", flush=True)  # noqa: T201 (`-s` shows how far it is)


@dataclass
class Team:
    """A namespace on a cluster with Graftwork, as its user sees it.

    Attributes:
        kubectl: the cluster.
        namespace: where.
        key: what the endpoint lets pass.
    """

    kubectl: Kubectl
    namespace: str
    key: str = ""

    def apply(self, content: dict[str, Any]) -> None:
        """`kubectl apply`."""
        self.kubectl.apply(content, "-n", self.namespace)

    def get(self, *what: str) -> Any:
        """`kubectl get`."""
        return self.kubectl.get(*what, "-n", self.namespace)

    def status(self, kind: str, name: str) -> dict[str, Any]:
        """Status of an object; empty before there is one."""
        found: dict[str, Any] = self.get(kind, name).get("status") or {}
        return found

    def wait_for_phase(self, kind: str, name: str, phase: str, *, within_s: float) -> dict[str, Any]:
        """Wait until an object is in a phase; its status."""
        self.until(lambda: self.status(kind, name).get("phase") in {phase, "Failed"}, f"{name} {phase}", within_s)
        status = self.status(kind, name)
        assert status["phase"] == phase, json.dumps(status, indent=2)
        return status

    def until(self, holds: Callable[[], bool], what: str, within_s: float) -> None:
        """Wait until something holds, and show what there is if it never does."""
        deadline = time.monotonic() + within_s
        while not holds():
            if time.monotonic() > deadline:
                seen = self.kubectl("get", "pods,finetunejobs,inferenceendpoints,rayjobs,rayservices", "-A").stdout
                raise AssertionError(f"not within {within_s} s: {what}\n{seen}")
            time.sleep(1)

    def pods(self, labels: str) -> list[str]:
        """Names of the pods that run, by label."""
        found = self.get("pods", "-l", labels, "--field-selector=status.phase=Running")["items"]
        return [each["metadata"]["name"] for each in found if "deletionTimestamp" not in each["metadata"]]

    def copy_to_volume(self, files: dict[str, Path]) -> None:
        """Bring files and folders to the volume, through the pod that has it."""
        with self._exec("client", "tar", "x", "-C", "/data", stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            with tarfile.open(fileobj=process.stdin, mode="w|") as archive:
                for name, path in files.items():
                    archive.add(path, arcname=name)
            process.stdin.close()
            assert process.wait(120) == 0

    def asking(
        self, *, seconds: float, connections: int = 1, pause_s: float = 0.05, until_version: str | None = None
    ) -> subprocess.Popen[bytes]:
        """Ask the endpoint from a pod, beside what else happens."""
        url = self.status("inferenceendpoint", "emoji")["url"] + "/v1/endpoints/emoji/predict"
        code = (Path(__file__).parent / "ask.py").read_text()
        arguments = [url, self.key, PICTURE, str(seconds), str(connections), str(pause_s)]
        arguments += [] if until_version is None else [until_version]
        return self._exec("client", "python", "-c", code, *arguments)

    def point_alias(self, version: str) -> None:
        """Point the champion to another version, as anyone whom the registry lets does."""
        body = json.dumps({"name": "emoji", "alias": "champion", "version": version})
        url = f"http://graft-mlflow.{RELEASE}:5000/api/2.0/mlflow/registered-models/alias"
        code = (
            "import sys, urllib.request as r; "
            "r.urlopen(r.Request(sys.argv[1], sys.argv[2].encode(), {'Content-Type': 'application/json'}))"
        )
        with self._exec("client", "python", "-c", code, url, body) as process:
            assert process.wait(60) == 0

    def make_key(self, folder: Path) -> None:
        """`graft keys create`, and the Secret that serving pods see."""
        file = folder / "keys.yaml"
        made = CliRunner().invoke(cli, ["keys", "create", "e2e", "--file", str(file), "-o", "json"])
        assert made.exit_code == 0, made.output
        self.key = json.loads(made.stdout)["key"]
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": KEYS},
                "stringData": {file.name: file.read_text()},
            }
        )

    def _exec(self, pod: str, *command: str, stdin: int | None = None) -> subprocess.Popen[bytes]:
        kubectl = shutil.which("kubectl")
        assert kubectl is not None, "kubectl is not on PATH"
        interactive = [] if stdin is None else ["-i"]
        where = ["--kubeconfig", self.kubectl.kubeconfig, "-n", self.namespace]
        full = [kubectl, *where, "exec", *interactive, pod, "--", *command]
        return subprocess.Popen(full, stdin=stdin, stdout=subprocess.PIPE)


def answered(process: subprocess.Popen[bytes], *, within_s: float) -> dict[str, Any]:
    """What came of asking."""
    out, _ = process.communicate(timeout=within_s)
    assert process.returncode == 0, out
    result: dict[str, Any] = json.loads(out)
    print("          ", result, flush=True)  # noqa: T201 (as `Times.step`)
    return result


def client_pod() -> dict[str, Any]:
    """A pod inside the cluster that asks, and that brings data to the volume."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "client"},
        "spec": {
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "fsGroup": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "client",
                    "image": f"graftwork-serve:{VERSION}",
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sleep", "infinity"],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                    },
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }
            ],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": CLAIM}}],
        },
    }


def claim() -> dict[str, Any]:
    """The volume for data, runs and checkpoints."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}},
    }
