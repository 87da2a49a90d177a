"""What the registry tells: shapes of data only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from graftwork.bundle.directory import Bundle
from graftwork.registry.alias_history import AliasMove


@dataclass(frozen=True, kw_only=True)
class ResolvedModel:
    """A model reference, followed to a bundle on this machine whose digests were checked.

    Attributes:
        name: registered name; for a path, the directory's name.
        version: registered version; None for a path.
        alias: alias it was asked for by, if any.
        bundle: the opened bundle.
    """

    name: str
    version: int | None
    alias: str | None
    bundle: Bundle

    @property
    def path(self) -> Path:
        """The bundle's directory."""
        return self.bundle.path

    @property
    def digest(self) -> str:
        """Names the bundle's whole content."""
        return self.bundle.digest


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One registered bundle.

    Attributes:
        name: registered name.
        version: 1, 2, ...
        aliases: that point to it now.
        created_at: UTC time, ISO 8601.
        digest: names the bundle's whole content.
        job: job that made it.
        run_id: run that made it.
        data_digest: SHA-256 of the data it was trained on.
        backbone: pre-trained model it grew on.
        metrics: of the test set; further test sets as `NAME/METRIC`.
        source: where the registry keeps the bundle.
    """

    name: str
    version: int
    aliases: tuple[str, ...]
    created_at: str
    digest: str
    job: str
    run_id: str
    data_digest: str
    backbone: str
    metrics: dict[str, float]
    source: str


@dataclass(frozen=True, kw_only=True)
class RegisteredModel:
    """A name with its versions.

    Attributes:
        name: registered name.
        versions: newest first.
        aliases: version by alias.
        moves: of all aliases, oldest first.
    """

    name: str
    versions: tuple[ModelVersion, ...]
    aliases: dict[str, int]
    moves: tuple[AliasMove, ...]


@dataclass(frozen=True, kw_only=True)
class Registration:
    """What registering gave.

    Attributes:
        name: registered name.
        version: of the bundle.
        alias: that was moved to it, if any.
        created: false if the same bundle had been registered before, which is then the version.
    """

    name: str
    version: int
    alias: str | None
    created: bool


@dataclass(frozen=True, kw_only=True)
class AliasChange:
    """Where an alias points after a move.

    Attributes:
        name: registered name.
        alias: which alias.
        before: version it pointed to, if any.
        after: version it points to.
    """

    name: str
    alias: str
    before: int | None
    after: int
