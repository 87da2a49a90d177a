"""The only place that reads environment variables.

Everything else takes what it needs as an argument or asks `load_settings()` once at its edge (command line, worker
start, replica start).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where Graftwork keeps things.

    Attributes:
        home: root of all local state (`GRAFT_HOME`, default `~/.graftwork`).
        tracking_uri: MLflow tracking and registry (`MLFLOW_TRACKING_URI`, default an embedded SQLite file in `home`).
        ray_address: Ray cluster to train on (`RAY_ADDRESS`); None starts a Ray on this machine for each run.
        storage: where training keeps checkpoints (`GRAFT_STORAGE`): a path or URI that all machines of the cluster
            reach, such as `s3://bucket/folder`; None keeps them with the run, which is for one machine.
    """

    home: Path
    tracking_uri: str
    ray_address: str | None = None
    storage: str | None = None

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


def load_settings() -> Settings:
    """Read the environment."""
    home = Path(os.environ.get("GRAFT_HOME") or Path.home() / ".graftwork").expanduser().absolute()
    tracking_uri = os.environ.get("MLFLOW_TRACKING_URI") or _embedded_tracking_uri(home)
    return Settings(
        home=home,
        tracking_uri=tracking_uri,
        ray_address=os.environ.get("RAY_ADDRESS") or None,
        storage=os.environ.get("GRAFT_STORAGE") or None,
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
