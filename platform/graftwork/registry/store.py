"""The registry: where bundles get versions and aliases.

A version appears with all of its facts in one step, after its bundle has been copied and checked; an alias moves last.
A name without versions is treated as if it did not exist: it may be left over from a registration that was cut off.
"""

from __future__ import annotations

import shutil
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from graftwork.bundle.directory import Bundle, BundleError, open_bundle
from graftwork.bundle.files import disk_full_errors, require_free_space, size_below, staged_directory
from graftwork.bundle.manifest import MANIFEST_FILE
from graftwork.errors import Problem, SpecError
from graftwork.near_names import did_you_mean
from graftwork.progress import SilentReporter
from graftwork.registry.alias_history import AliasMove, read_moves, version_before
from graftwork.registry.mlflow_client import RegistryError, connect, is_missing, is_taken, registry_errors
from graftwork.registry.records import AliasChange, ModelVersion, RegisteredModel, Registration, ResolvedModel
from graftwork.registry.reference_errors import bare_name, no_alias, nothing_before, still_named
from graftwork.registry.tracking import Tracking
from graftwork.registry.undo import Undo
from graftwork.registry.version_tags import is_bundle_version, read_version, version_tags
from graftwork.spec.references import (
    AliasReference,
    PathReference,
    VersionReference,
    check_alias,
    check_name,
    parse_reference,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion
    from mlflow.entities.model_registry import RegisteredModel as MlflowModel

    from graftwork.progress import Reporter
    from graftwork.settings import Settings

_PAGE = 200
# Two processes may ask for the next version number at the same time; each try takes a new one.
_VERSION_TRIES = 10


class Registry:
    """Registered bundles of one registry.

    Args:
        settings: where the registry is.
        reporter: told when something takes long.
    """

    def __init__(self, settings: Settings, reporter: Reporter | None = None) -> None:
        self._settings = settings
        self._reporter: Reporter = reporter or SilentReporter()

    @cached_property
    def _client(self) -> MlflowClient:
        return connect(self._settings, self._reporter)

    @cached_property
    def _tracking(self) -> Tracking:
        return Tracking(self._client, self._settings)

    def track_run(
        self,
        job_name: str,
        run_id: str,
        spec: Mapping[str, Any],
        history: Sequence[Mapping[str, Any]],
        metrics: Mapping[str, float],
        report_dir: Path | None = None,
    ) -> str:
        """Record a training run: spec as parameters, metrics by epoch, test metrics and report.

        Recording the same run again gives the first record, if that is complete, and otherwise replaces it.

        Args:
            job_name: names the MLflow experiment.
            run_id: names the MLflow run.
            spec: the job spec.
            history: one mapping an epoch, in order; its numbers are recorded.
            metrics: of the test set.
            report_dir: report to store with the run.

        Returns:
            The id MLflow gave the run, for `register`.
        """
        with self._errors():
            return self._tracking.track(job_name, run_id, spec, history, metrics, report_dir)

    def register(
        self, bundle: Bundle | Path, model: str, alias: str | None = None, tracking_run: str | None = None
    ) -> Registration:
        """Make a bundle the next version of a model and point an alias to it.

        If anything fails, the registry is as it was. The same bundle registered again keeps its version.

        Args:
            bundle: opened bundle or its directory.
            model: registered name.
            alias: to move to the version.
            tracking_run: run from `track_run`; one is made if there is none.

        Raises:
            SpecError: name or alias cannot be used.
            BundleError: the bundle is damaged, or was damaged on its way.
            DiskFullError: there is not enough space for a copy.
            RegistryError: the registry refused.
        """
        check_name(model)
        if alias is not None:
            check_alias(alias)
        opened = open_bundle(bundle if isinstance(bundle, Path) else bundle.path)
        with self._errors(), Undo() as undo:
            version = self._find_digest(model, opened.digest)
            created = version is None
            if version is None:
                source, run = self._upload(opened, tracking_run, undo)
                version = self._create_version(model, opened, source, run)
                undo.add(lambda: self._client.delete_model_version(model, str(version)))
            if alias is not None:
                self._move_alias(model, alias, version, "set")
            undo.forget()
        return Registration(name=model, version=version, alias=alias, created=created)

    def resolve(self, reference: str) -> ResolvedModel:
        """Follow a model reference to a checked bundle on this machine.

        Args:
            reference: `NAME@ALIAS`, `NAME/VERSION` or the path of a bundle directory. A bare name is no reference: what
                it means would change with the next training.

        Raises:
            SpecError: there is no such model, version, alias or directory.
            BundleError: the bundle is damaged.
        """
        match parse_reference(reference):
            case PathReference(path=path):
                return self._resolve_path(reference, Path(path).expanduser())
            case AliasReference(name=name, alias=alias):
                model = self.show_model(name, where=reference)
                if alias not in model.aliases:
                    raise no_alias(reference, model, alias)
                return self._fetch(_version_of(model, model.aliases[alias]), alias)
            case VersionReference(name=name, version=number):
                return self._fetch(self._known_version(name, number, where=reference), None)

    def version_behind(self, reference: str) -> str:
        """The version that an alias points to now, without fetching anything.

        Args:
            reference: `NAME@ALIAS`.

        Returns:
            `NAME/VERSION`.

        Raises:
            SpecError: there is no such model or alias.
        """
        name, _, alias = reference.partition("@")
        model = self.show_model(name, where=reference)
        if alias not in model.aliases:
            raise no_alias(reference, model, alias)
        return f"{name}/{model.aliases[alias]}"

    def directory_of(self, version: ModelVersion) -> Path:
        """Where a version's bundle is, or will be once it has been fetched, on this machine."""
        return _local_path(version.source) or self._settings.bundles_dir / version.digest

    def list_models(self) -> tuple[RegisteredModel, ...]:
        """All models that have a version, by name."""
        with self._errors():
            found: list[MlflowModel] = _all_pages(
                lambda token: self._client.search_registered_models(max_results=_PAGE, page_token=token)
            )
            models = [self._read_model(model) for model in found]
        return tuple(sorted((model for model in models if model.versions), key=lambda model: model.name))

    def show_model(self, name: str, *, where: str | None = None) -> RegisteredModel:
        """One model with its versions, aliases, metrics and lineage.

        Args:
            name: registered name.
            where: what the user wrote, for the error.

        Raises:
            SpecError: there is no such model.
        """
        model = self._find_model(name)
        if model is None:
            raise self._no_model(where or name, name)
        return model

    def set_alias(self, name: str, alias: str, version: int) -> AliasChange:
        """Point an alias to a version.

        Raises:
            SpecError: there is no such version, or the alias cannot be used.
        """
        check_alias(alias)
        self._known_version(name, version, where=f"{name}/{version}")
        with self._errors():
            return self._move_alias(name, alias, version, "set")

    def rollback(self, name: str, alias: str) -> AliasChange:
        """Point an alias to the version it pointed to before; again, to the one before that.

        Raises:
            SpecError: there is no such alias, or nothing before.
        """
        model = self.show_model(name, where=f"{name}@{alias}")
        current = model.aliases.get(alias)
        if current is None:
            raise no_alias(f"{name}@{alias}", model, alias)
        moves = [move for move in model.moves if move.alias == alias]
        before = version_before(moves, current, {version.version for version in model.versions})
        if before is None:
            deleted = version_before(moves, current, {move.version for move in moves})
            raise nothing_before(f"{name}@{alias}", current, deleted)
        with self._errors():
            return self._move_alias(name, alias, before, "rollback")

    def remove(self, name: str, number: int) -> None:
        """Delete a version for good: the version first, so that none is ever left without its bundle.

        Raises:
            SpecError: there is no such version, or an alias points to it.
        """
        version = self.check_removable(name, number)
        with self._errors():
            run = str(self._client.get_model_version(name, str(number)).run_id)
            # The name stays in MLflow even without versions: its numbers go on, so that none ever means two bundles.
            self._client.delete_model_version(name, str(number))
            self._tracking.delete_artifacts(run, version.source.rpartition("/")[2])

    def check_removable(self, name: str, number: int) -> ModelVersion:
        """The version, if it may be removed; see `remove`."""
        version = self._known_version(name, number, where=f"{name}/{number}")
        if version.aliases:
            raise still_named(version)
        return version

    def export(self, reference: str, destination: Path) -> Bundle:
        """Copy a bundle out of the registry.

        Raises:
            SpecError: there is no such model, or `destination` holds something.
            DiskFullError: there is not enough space.
        """
        source = self.resolve(reference).path
        with staged_directory(destination, needed_bytes=size_below(source)) as staged:
            shutil.copytree(source, staged, dirs_exist_ok=True)
            open_bundle(staged)
        return open_bundle(destination)

    def alias_metrics(self, name: str, alias: str) -> dict[str, float] | None:
        """Test metrics of the version an alias points to; None if there is no such model or alias."""
        model = self._find_model(name)
        if model is None or alias not in model.aliases:
            return None
        return _version_of(model, model.aliases[alias]).metrics

    def version_of(self, bundle: Bundle, name: str) -> ModelVersion | None:
        """The version of a model that holds this very bundle, whole; None if there is none (any more)."""
        number = self._find_digest(name, bundle.digest)
        return None if number is None else self._known_version(name, number, where=f"{name}/{number}")

    # Reading

    def _errors(self) -> AbstractContextManager[None]:
        self._client  # noqa: B018 (MLflow must be importable before its errors can be told)
        return registry_errors(self._settings)

    def _find_model(self, name: str) -> RegisteredModel | None:
        from mlflow.exceptions import MlflowException

        with self._errors():
            try:
                model = self._read_model(self._client.get_registered_model(name))
            except MlflowException as error:
                if is_missing(error) or str(error.error_code) == "INVALID_PARAMETER_VALUE":
                    return None
                raise
        return model if model.versions else None

    def _read_model(self, model: MlflowModel) -> RegisteredModel:
        aliases = {alias: int(version) for alias, version in model.aliases.items()}
        found: list[MlflowVersion] = _all_pages(
            lambda token: self._client.search_model_versions(
                f"name = '{model.name}'", max_results=_PAGE, page_token=token
            )
        )
        versions = [read_version(version, aliases) for version in found if is_bundle_version(version)]
        versions.sort(key=lambda version: version.version, reverse=True)
        known = {version.version for version in versions}
        return RegisteredModel(
            name=model.name,
            versions=tuple(versions),
            aliases={alias: version for alias, version in sorted(aliases.items()) if version in known},
            moves=tuple(read_moves(model.tags)),
        )

    def _known_version(self, name: str, number: int, *, where: str) -> ModelVersion:
        model = self.show_model(name, where=where)
        for version in model.versions:
            if version.version == number:
                return version
        raise SpecError(
            Problem(
                where=where,
                received=f"version {number}",
                expected=f"one of the versions of {name}: "
                + ", ".join(str(version.version) for version in reversed(model.versions)),
                fix=f"See them with: graft models show {name}.",
            )
        )

    def _find_digest(self, name: str, digest: str) -> int | None:
        """The version that holds this very bundle, if it is still whole."""
        model = self._find_model(name)
        for version in model.versions if model else ():
            if version.digest == digest:
                try:
                    self._fetch(version, None)
                except (BundleError, SpecError, RegistryError):
                    continue  # lost or damaged in the registry: register it anew
                return version.version
        return None

    def _resolve_path(self, reference: str, path: Path) -> ResolvedModel:
        if not (path / MANIFEST_FILE).is_file() and "/" not in reference and not path.exists():
            model = self._find_model(reference)
            if model is not None:
                raise bare_name(reference, model)
            raise self._no_model(reference, reference)
        bundle = open_bundle(path.absolute())
        return ResolvedModel(name=path.absolute().name, version=None, alias=None, bundle=bundle)

    def _no_model(self, where: str, name: str) -> SpecError:
        models = self.list_models()
        names = [model.name for model in models]
        if not names:
            fix = "Nothing is registered yet: train and register a model with `graft run FILE`."
        else:
            listed = f"Registered are {', '.join(names)}."
            aliased = [f"{model.name}@{alias}" for model in models for alias in model.aliases] if "@" in name else []
            fix = f"{did_you_mean(name, aliased or names)} {listed}".strip()
        if (Path(where) / MANIFEST_FILE).is_file():
            fix = f"Write ./{where} to mean the directory of that name."
        return SpecError(
            Problem(where=where, received=f"the model name {name!r}", expected="a registered model", fix=fix)
        )

    def _fetch(self, version: ModelVersion, alias: str | None) -> ResolvedModel:
        """Open the registry's own copy if it is on this machine, else a copy in the cache."""
        with self._errors():
            bundle = self._open_source(version.source, version.digest)
        return ResolvedModel(name=version.name, version=version.version, alias=alias, bundle=bundle)

    def _open_source(self, source: str, digest: str) -> Bundle:
        local = _local_path(source)
        bundle = open_bundle(local) if local is not None else self._open_cached(source, digest)
        if bundle.digest != digest:
            raise BundleError(
                f"{bundle.path}: received bundle {bundle.digest[:12]}..., expected {digest[:12]}...: "
                "the registry holds another bundle than the one that was registered. Register it again."
            )
        return bundle

    def _open_cached(self, source: str, digest: str) -> Bundle:
        cached = self._settings.bundles_dir / digest
        if (cached / MANIFEST_FILE).is_file():
            try:
                return open_bundle(cached)
            except BundleError:
                self._reporter.warn(f"{cached}: the cached copy is damaged and will be fetched again")
        with staged_directory(cached, needed_bytes=0, replace=True) as staged:
            self._tracking.download(source, staged)
            open_bundle(staged)
        return open_bundle(cached)

    # Writing

    def _upload(self, bundle: Bundle, tracking_run: str | None, undo: Undo) -> tuple[str, str]:
        """Copy a bundle into the registry's storage and check the copy.

        Returns:
            Where it is, and the run it belongs to.
        """
        run = tracking_run
        if run is None:
            lineage = bundle.manifest.lineage
            run = self._tracking.start(lineage.job, lineage.run_id)
            made = run
            undo.add(lambda: self._tracking.delete(made))
        # A folder of its own for each try: cleaning up after a failure can then never hit another's files.
        folder = f"bundle-{time.time_ns():x}"
        source = self._tracking.artifact_uri(run, folder)
        local = _local_path(source)
        size_bytes = size_below(bundle.path)
        if local is not None:
            require_free_space(local, size_bytes)
        undo.add(lambda: self._tracking.delete_artifacts(run, folder))
        with (
            self._reporter.task("registering the bundle", total=size_bytes, unit="bytes") as task,
            disk_full_errors(local or self._settings.bundles_dir, size_bytes),
        ):
            self._tracking.upload(run, bundle.path, folder)
            self._open_source(source, bundle.digest)
            task.advance(size_bytes)
        if tracking_run is None:
            self._tracking.finish(run)
        return source, run

    def _create_version(self, model: str, bundle: Bundle, source: str, run: str) -> int:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(model)
        except MlflowException as error:
            if not is_taken(error):
                raise
        tags = version_tags(bundle)
        for attempt in range(_VERSION_TRIES):
            try:
                created = self._client.create_model_version(
                    model, source=source, run_id=run, tags=tags, await_creation_for=0
                )
            except MlflowException as error:
                if attempt == _VERSION_TRIES - 1 or not (is_taken(error) or "locked" in str(error)):
                    raise
            else:
                return int(created.version)
        raise AssertionError("unreachable: the last try returns or raises")

    def _move_alias(self, name: str, alias: str, version: int, kind: Literal["set", "rollback"]) -> AliasChange:
        """Record the move, then move: a crash between the two leaves the alias where it was."""
        before = {key: int(value) for key, value in self._client.get_registered_model(name).aliases.items()}.get(alias)
        change = AliasChange(name=name, alias=alias, before=before, after=version)
        if before == version:
            return change
        move = AliasMove(alias=alias, at_ns=time.time_ns(), kind=kind, version=version)
        key, value = move.tag
        with Undo() as undo:
            undo.add(lambda: self._client.delete_registered_model_tag(name, key))
            self._client.set_registered_model_tag(name, key, value)
            undo.add(lambda: self._restore_alias(change))
            self._client.set_registered_model_alias(name, alias, str(version))
            undo.forget()
        return change

    def _restore_alias(self, change: AliasChange) -> None:
        """Take a move back that failed here but may have reached the server."""
        target = self._client.get_registered_model(change.name).aliases.get(change.alias)
        if target is None or int(target) != change.after:
            return
        if change.before is None:
            self._client.delete_registered_model_alias(change.name, change.alias)
        else:
            self._client.set_registered_model_alias(change.name, change.alias, str(change.before))


def _version_of(model: RegisteredModel, number: int) -> ModelVersion:
    return next(version for version in model.versions if version.version == number)


def _local_path(uri: str) -> Path | None:
    parts = urllib.parse.urlparse(uri)
    if parts.scheme == "":
        return Path(uri)
    return Path(urllib.parse.unquote(parts.path)) if parts.scheme == "file" else None


def _all_pages(search: Callable[[str | None], Any]) -> list[Any]:
    found: list[Any] = []
    token: str | None = None
    while True:
        page = search(token)
        found.extend(page)
        token = page.token
        if not token:
            return found
