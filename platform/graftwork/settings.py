"""The only place that reads environment variables.

Everything else takes what it needs as an argument or asks `load_settings()` once at its edge (command line, worker
start, replica start).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from graftwork import __version__


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where Graftwork keeps things.

    Attributes:
        home: root of all local state (`GRAFT_HOME`, default `~/.graftwork`).
        tracking_uri: MLflow tracking and registry (`MLFLOW_TRACKING_URI`, default an embedded SQLite file in `home`).
        ray_address: Ray cluster to train on (`RAY_ADDRESS`); None starts a Ray on this machine for each run.
        storage: where training keeps checkpoints (`GRAFT_STORAGE`): a path or URI that all machines of the cluster
            reach, such as `s3://bucket/folder`; None keeps them with the run, which is for one machine.
        report_to: ConfigMap in which a driver in a pod reports, as NAMESPACE/NAME (`GRAFT_REPORT`, which the operator
            sets).
        api_key: what `graft predict` shows endpoints that ask for a key (`GRAFT_API_KEY`).
    """

    home: Path
    tracking_uri: str
    ray_address: str | None = None
    storage: str | None = None
    report_to: str | None = None
    api_key: str | None = field(default=None, repr=False)

    @property
    def runs_dir(self) -> Path:
        """One folder per training job and run: `runs/<job>/<run id>`."""
        return self.home / "runs"

    @property
    def endpoints_dir(self) -> Path:
        """One JSON file per endpoint that `graft serve` started here."""
        return self.home / "endpoints"

    @property
    def weights_dir(self) -> Path:
        """Downloaded pre-trained weights; can be filled in advance on a machine without network."""
        return self.home / "cache" / "weights"

    @property
    def data_dir(self) -> Path:
        """Local copies of data that a spec names by a remote URI."""
        return self.home / "cache" / "data"

    @property
    def bundles_dir(self) -> Path:
        """Local copies of bundles from a registry on another machine, by digest."""
        return self.home / "cache" / "bundles"

    @property
    def features_dir(self) -> Path:
        """Outputs of frozen trunks, kept for later phases, runs and jobs."""
        return self.home / "cache" / "features"

    @property
    def programs_dir(self) -> Path:
        """What JAX has compiled, for later processes on the same kind of machine."""
        return self.home / "cache" / "programs"

    @property
    def artifacts_dir(self) -> Path:
        """Where the embedded MLflow registry keeps bundles."""
        return self.home / "mlflow" / "artifacts"

    @property
    def is_embedded_registry(self) -> bool:
        """Whether the registry is the SQLite file in `home` rather than a server of the user's."""
        return self.tracking_uri == _embedded_tracking_uri(self.home)

    @classmethod
    def at(cls, home: Path) -> Self:
        """Settings with everything embedded below one folder, whatever the environment says."""
        return cls(home=home, tracking_uri=_embedded_tracking_uri(home))


@dataclass(frozen=True, kw_only=True)
class OperatorSettings:
    """How the operator was installed; the Helm chart sets all of it.

    Attributes:
        identity: name of this operator among several (`POD_NAME`).
        namespace: where it runs and keeps its Lease (`POD_NAMESPACE`).
        lease: name of the Lease (`GRAFT_OPERATOR_LEASE`); operators that share it take turns.
        namespaces: where it looks for objects (`GRAFT_OPERATOR_NAMESPACES`, separated by commas); empty: everywhere.
        train_image: default image of jobs (`GRAFT_TRAIN_IMAGE`).
        serve_image: default image of endpoints (`GRAFT_SERVE_IMAGE`).
        tracking_uri: MLflow server (`MLFLOW_TRACKING_URI`).
        env_from: Secrets all pods get (`GRAFT_OPERATOR_ENV_FROM`, separated by commas).
        pull_secrets: Secrets with credentials for images of pods (`GRAFT_OPERATOR_PULL_SECRETS`, the same).
        metrics_host: where its metrics are (`GRAFT_OPERATOR_METRICS_HOST`).
        metrics_port: where its metrics are (`GRAFT_OPERATOR_METRICS_PORT`).
        liveness_url: where it says that it lives (`GRAFT_OPERATOR_LIVENESS`); None nowhere.
        kubeconfig: outside a cluster, how to reach one (`KUBECONFIG`); None inside.
    """

    identity: str
    namespace: str
    lease: str
    namespaces: tuple[str, ...]
    train_image: str
    serve_image: str
    tracking_uri: str | None
    env_from: tuple[str, ...]
    pull_secrets: tuple[str, ...]
    metrics_host: str
    metrics_port: int
    liveness_url: str | None
    kubeconfig: str | None


def load_operator_settings() -> OperatorSettings:
    """Read the environment of the operator."""
    environment = os.environ
    return OperatorSettings(
        identity=environment.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}",
        namespace=environment.get("POD_NAMESPACE") or "default",
        lease=environment.get("GRAFT_OPERATOR_LEASE") or "graftwork-operator",
        namespaces=_listed(environment.get("GRAFT_OPERATOR_NAMESPACES")),
        train_image=environment.get("GRAFT_TRAIN_IMAGE") or f"graftwork-train:{__version__}",
        serve_image=environment.get("GRAFT_SERVE_IMAGE") or f"graftwork-serve:{__version__}",
        tracking_uri=environment.get("MLFLOW_TRACKING_URI") or None,
        env_from=_listed(environment.get("GRAFT_OPERATOR_ENV_FROM")),
        pull_secrets=_listed(environment.get("GRAFT_OPERATOR_PULL_SECRETS")),
        metrics_host=environment.get("GRAFT_OPERATOR_METRICS_HOST") or "127.0.0.1",
        metrics_port=int(environment.get("GRAFT_OPERATOR_METRICS_PORT") or 9090),
        liveness_url=environment.get("GRAFT_OPERATOR_LIVENESS") or None,
        kubeconfig=environment.get("KUBECONFIG") or None,
    )


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(each.strip() for each in (text or "").split(",") if each.strip())


def load_settings() -> Settings:
    """Read the environment."""
    home = Path(os.environ.get("GRAFT_HOME") or Path.home() / ".graftwork").expanduser().absolute()
    tracking_uri = os.environ.get("MLFLOW_TRACKING_URI") or _embedded_tracking_uri(home)
    return Settings(
        home=home,
        tracking_uri=tracking_uri,
        ray_address=os.environ.get("RAY_ADDRESS") or None,
        storage=os.environ.get("GRAFT_STORAGE") or None,
        report_to=os.environ.get("GRAFT_REPORT") or None,
        api_key=os.environ.get("GRAFT_API_KEY") or None,
    )


def child_environment(changes: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with some variables changed, for a process started from it."""
    return {**os.environ, **changes}


def set_process_defaults(defaults: Mapping[str, str]) -> None:
    """Set variables that the user has not set, for libraries that can be told in no other way.

    Call it before they are imported.
    """
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def _embedded_tracking_uri(home: Path) -> str:
    return f"sqlite:///{home / 'mlflow' / 'mlflow.db'}"
