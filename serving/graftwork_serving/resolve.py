"""From the models of an endpoint spec to bundle directories, checked before anything starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from graftwork.bundle.directory import Bundle, open_bundle
from graftwork.bundle.manifest import MANIFEST_FILE, TextSignature
from graftwork.errors import Problem, SpecError
from graftwork.settings import Settings
from graftwork.spec.amounts import bytes_of, seconds_of
from graftwork.spec.endpoint_observation import PredictionLog
from graftwork.spec.inference_endpoint import InferenceEndpoint, ServedModel
from graftwork.spec.rollout import Rollback
from graftwork.spec.traffic import WHOLE_PERCENT, Share, name_of_bundle, share_problems
from graftwork_serving.endpoint_config import (
    AccessConfig,
    DriftConfig,
    GrpcConfig,
    ModelConfig,
    PageConfig,
    PredictionLogConfig,
    ReplicaConfig,
    RepositoryConfig,
    RollbackConfig,
)

_VERSION_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class _Source:
    name: str
    version: str | None
    bundle: Bundle
    alias: str | None = None


def resolve_models(
    endpoint: InferenceEndpoint, *, base_dir: Path, settings: Settings, resolved: Mapping[str, str] | None = None
) -> list[ModelConfig]:
    """Find every model's bundle and check its digests.

    Args:
        endpoint: the endpoint.
        base_dir: folder that relative paths start at.
        settings: where the registry is.
        resolved: `NAME/VERSION` behind each `NAME@ALIAS`, where somebody else has asked the registry already.

    Raises:
        SpecError: no such models or bundles, all of them, or models of one name that cannot be told apart.
        BundleError: a bundle was changed.
    """
    told = resolved or {}
    models: list[ModelConfig] = []
    missing: list[Problem] = []
    for number, model in enumerate(endpoint.spec.models):
        try:
            models.append(_resolve(model, told.get(model.model, model.model), base_dir=base_dir, settings=settings))
        except SpecError as error:
            missing += [_at_model(problem, number) for problem in error.problems]
    if missing:
        raise SpecError(missing)
    # Names as they turned out: those of paths depend on where the paths lead.
    shares = [
        Share(name=model.name, reference=model.reference, traffic=served.traffic, shadow=served.shadow)
        for model, served in zip(models, endpoint.spec.models, strict=True)
    ]
    if problems := share_problems(shares):
        raise SpecError(
            [
                Problem(
                    where="spec." + _place(problem.at),
                    received=problem.received,
                    expected=problem.expected,
                    fix=problem.fix,
                )
                for problem in problems
            ]
        )
    if mixed := _mixed_up(models):
        raise SpecError(mixed)
    return models


def _mixed_up(models: Sequence[ModelConfig]) -> list[Problem]:
    """Entries of one name and version that are other models: neither requests nor figures could tell them apart."""
    first: dict[tuple[str, str], ModelConfig] = {}
    found: list[Problem] = []
    for number, model in enumerate(models):
        earlier = first.setdefault((model.name, model.version), model)
        if earlier.digest != model.digest:
            found.append(
                Problem(
                    where=f"spec.models[{number}]",
                    received=f"`{model.reference}` as version {model.version} of `{model.name}`, which is another "
                    f"model than `{earlier.reference}` and has the same version",
                    expected="versions that can be told apart: those of one registered model",
                    fix="Give it a `name` of its own, or register it as another version of the same model.",
                )
            )
    return found


def _at_model(problem: Problem, number: int) -> Problem:
    """A problem of a reference as one of the spec that holds it."""
    received = f"{problem.where!r}, {problem.received}"
    return replace(problem, where=f"spec.models[{number}].model", received=received)


def _place(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def replica_config(
    endpoint: InferenceEndpoint,
    models: list[ModelConfig],
    *,
    access: AccessConfig | None,
    base_dir: Path,
    offered: Sequence[ModelConfig] = (),
) -> ReplicaConfig:
    """What the replicas are told.

    Args:
        endpoint: the spec.
        models: its models, found.
        access: who may ask; None everyone.
        base_dir: folder that relative paths start at.
        offered: models that may be loaded while the endpoint runs.
    """
    spec = endpoint.spec
    return ReplicaConfig(
        endpoint=endpoint.metadata.name,
        models=models,
        max_batch_size=spec.batching.max_batch_size,
        engine=spec.engine_name,
        on_gpu=spec.resources.gpus > 0,
        precision=spec.precision,
        max_request_bytes=spec.limits.max_request_bytes,
        max_image_pixels=spec.limits.max_image_pixels,
        max_queued_requests=spec.limits.max_queued_requests,
        sticky_header=None if spec.routing.sticky_header is None else spec.routing.sticky_header.lower(),
        page=PageConfig(enabled=spec.playground.enabled, examples=spec.playground.examples),
        allowed_origins=spec.cors.origins,
        timeout_s=spec.limits.timeout_seconds,
        prediction_log=None if spec.prediction_log is None else _log_config(spec.prediction_log, base_dir),
        drift=None if spec.drift is None else DriftConfig(sample=spec.drift.sample, window=spec.drift.window),
        explains=spec.explanations != "none",
        repository=None
        if spec.repository is None
        else RepositoryConfig(models=list(offered), memory_bytes=bytes_of(spec.repository.memory)),
        rollback=_rollback(spec.rollout.rollback),
        grpc=None if spec.grpc is None else GrpcConfig(host=spec.grpc.host, port=spec.grpc.port),
        access=access,
    )


def offered_models(endpoint: InferenceEndpoint, settings: Settings) -> list[ModelConfig]:
    """The registered models that an endpoint may load while it runs, without fetching any.

    Raises:
        RegistryError: the registry does not answer.
    """
    spec = endpoint.spec.repository
    if spec is None:
        return []
    from graftwork.registry import Registry

    registry = Registry(settings)
    found = []
    for model in registry.list_models():
        number = model.aliases.get(spec.alias)
        if number is None or not any(fnmatchcase(model.name, pattern) for pattern in spec.models):
            continue
        version = next(each for each in model.versions if each.version == number)
        found.append(
            ModelConfig(
                name=model.name,
                version=str(number),
                path=str(registry.directory_of(version)),
                digest=version.digest,
                reference=f"{model.name}@{spec.alias}",
                source=f"{model.name}/{number}",
                alias=spec.alias,
            )
        )
    return found


def _rollback(spec: Rollback | None) -> RollbackConfig | None:
    if spec is None:
        return None
    return RollbackConfig(
        max_error_rate=spec.max_error_rate,
        max_latency_s=None if spec.max_latency_ms is None else spec.max_latency_ms / 1000,
        max_disagreement=spec.max_disagreement,
        window_s=seconds_of(spec.window),
        min_requests=spec.min_requests,
    )


def _log_config(log: PredictionLog, base_dir: Path) -> PredictionLogConfig:
    path = (base_dir / Path(log.path).expanduser()).absolute()
    return PredictionLogConfig(path=str(path), sample=log.sample, inputs=log.inputs, max_bytes=log.max_bytes)


def resolve_reference(reference: str, *, base_dir: Path, settings: Settings) -> ModelConfig:
    """Find the bundle of one model and check its digests.

    Args:
        reference: `NAME@ALIAS` or `NAME/VERSION` in the registry, or the path of a bundle directory.
        base_dir: folder that a relative path starts at.
        settings: where the registry is.

    Raises:
        SpecError: there is no such model or bundle.
        BundleError: it was changed.
    """
    source = _find(reference, base_dir=base_dir, settings=settings)
    bundle = source.bundle
    return ModelConfig(
        name=source.name,
        version=source.version or bundle.digest[:_VERSION_DIGITS],
        path=str(bundle.path),
        digest=bundle.digest,
        reference=reference,
        source=str(bundle.path) if source.version is None else f"{source.name}/{source.version}",
        alias=source.alias,
        takes_text=isinstance(bundle.manifest.input, TextSignature),
    )


def _resolve(model: ServedModel, reference: str, *, base_dir: Path, settings: Settings) -> ModelConfig:
    found = resolve_reference(reference, base_dir=base_dir, settings=settings)
    return found.model_copy(
        update={
            "name": model.name or found.name,
            "reference": model.model,
            "alias": found.alias if reference == model.model else named_alias(model.model),
            "traffic": WHOLE_PERCENT if model.traffic is None else model.traffic,
            "shadow": model.shadow,
        }
    )


def _find(reference: str, *, base_dir: Path, settings: Settings) -> _Source:
    path = (base_dir / Path(reference).expanduser()).absolute()
    from graftwork.registry import Registry

    if (path / MANIFEST_FILE).is_file() or not _looks_registered(reference):
        if not path.exists() and Path(reference).name == reference:
            # A registered model without a version, or none at all: the registry says how to write it.
            Registry(settings).resolve(reference)
        return _Source(name=name_of_bundle(path), version=None, bundle=open_bundle(path))
    resolved = Registry(settings).resolve(reference)
    return _Source(
        name=resolved.name, version=str(resolved.version), bundle=resolved.bundle, alias=named_alias(reference)
    )


def named_alias(reference: str) -> str | None:
    """The alias in `NAME@ALIAS`."""
    return reference.partition("@")[2] or None


def _looks_registered(reference: str) -> bool:
    """Whether a reference has the form NAME@ALIAS or NAME/VERSION."""
    name, separator, alias = reference.partition("@")
    if separator:
        return bool(name) and "/" not in name and bool(alias)
    name, separator, version = reference.partition("/")
    return bool(name) and bool(separator) and version.isdigit() and name not in {".", "..", "~"}
