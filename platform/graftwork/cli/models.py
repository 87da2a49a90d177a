"""`graft models`: look at the model registry and change it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graftwork.cli.console import console, make_reporter, print_json, print_table
from graftwork.cli.options import Output, ask, output_option, yes_option
from graftwork.endpoint_state import running_endpoints
from graftwork.errors import Problem, SpecError
from graftwork.settings import load_settings

if TYPE_CHECKING:
    from graftwork.registry import Registry
    from graftwork.registry.records import AliasChange, ModelVersion, RegisteredModel

# Told first, in this order, where there is room for only a few: those that the models have.
_MAIN_METRICS = ("accuracy", "f1_macro", "r2", "mae", "loss")


@click.group()
def command() -> None:
    """Look at and change the model registry.

    A model version is named NAME@ALIAS or NAME/VERSION.
    """


@command.command("list")
@output_option
def list_models(output: Output) -> None:
    """List the registered models with their aliases and the figures of the newest version."""
    models = _registry(output).list_models()
    if output == "json":
        print_json([_model_content(model) for model in models])
    elif not models:
        console().print("No model is registered yet. Train and register one with: graft run FILE")
    else:
        metrics = _main_metrics([model.versions[0] for model in models])
        print_table(
            ("model", "versions", "newest", "aliases", *metrics, "created"),
            [_list_row(model, metrics) for model in models],
        )


@command.command("show")
@click.argument("name")
@output_option
def show(name: str, output: Output) -> None:
    """Show all versions of the model NAME: aliases, metrics, lineage, and how the aliases moved.

    NAME@ALIAS and NAME/VERSION show that version alone.
    """
    registry = _registry(output)
    if "@" in name or "/" in name:
        resolved = registry.resolve(name)
        content: dict[str, Any] = {
            "name": resolved.name,
            "version": resolved.version,
            "path": str(resolved.path),
            "manifest": resolved.bundle.manifest.model_dump(mode="json"),
        }
        if output == "json":
            print_json(content)
        else:
            _print_manifest(content)
        return
    model = registry.show_model(name)
    if output == "json":
        print_json(_model_content(model))
        return
    metrics = _common_metrics(model)
    print_table(
        ("version", "aliases", *metrics, "backbone", "run", "created", "digest"),
        [_version_row(version, metrics) for version in model.versions],
        title=model.name,
    )
    if model.moves:
        print_table(
            ("when", "alias", "what", "version"),
            [(_time(move.at_ns), move.alias, move.kind, move.version) for move in model.moves],
            title="aliases moved",
        )


@command.command("alias")
@click.argument("name")
@click.argument("alias")
@click.argument("version", type=click.IntRange(min=1))
@output_option
def set_alias(name: str, alias: str, version: int, output: Output) -> None:
    """Point ALIAS of the model NAME to VERSION."""
    _tell(_registry(output).set_alias(name, alias, version), output)


@command.command("rollback")
@click.argument("name")
@click.argument("alias", default="champion")
@output_option
def rollback(name: str, alias: str, output: Output) -> None:
    """Point ALIAS (default: champion) of the model NAME to the version it pointed to before."""
    _tell(_registry(output).rollback(name, alias), output)


@command.command("export")
@click.argument("reference", metavar="NAME@ALIAS|NAME/VERSION")
@click.argument("destination", type=click.Path(path_type=Path))
@output_option
def export(reference: str, destination: Path, output: Output) -> None:
    """Copy a registered bundle to the new directory DESTINATION."""
    bundle = _registry(output).export(reference, destination)
    if output == "json":
        print_json({"reference": reference, "path": str(bundle.path), "digest": bundle.digest})
    else:
        console().print(f"{reference} is in {bundle.path}")


@command.command("remove")
@click.argument("reference", metavar="NAME/VERSION")
@yes_option
@output_option
def remove(reference: str, yes: bool, output: Output) -> None:  # noqa: FBT001 (click passes flags by name)
    """Delete a version and its bundle for good; not one that an alias points to or that is served here."""
    from graftwork.spec.references import VersionReference, parse_reference

    parsed = parse_reference(reference)
    if not isinstance(parsed, VersionReference):
        raise SpecError(
            Problem(where=reference, received="no version", expected="NAME/VERSION", fix="See: graft models show NAME.")
        )
    for endpoint in running_endpoints(load_settings().endpoints_dir):
        if f"{parsed.name} {parsed.version}" in endpoint.models:
            raise SpecError(
                Problem(
                    where=reference,
                    received=f"a version that endpoint {endpoint.name} serves",
                    expected="one that is not served",
                    fix=f"Stop it first: graft endpoints stop {endpoint.name}.",
                )
            )
    registry = _registry(output)
    registry.check_removable(parsed.name, parsed.version)
    ask(f"Delete {reference} and its bundle for good?", yes=yes)
    registry.remove(parsed.name, parsed.version)
    if output == "json":
        print_json({"name": parsed.name, "version": parsed.version, "removed": True})
    else:
        console().print(f"{reference} is deleted")


def _registry(output: Output) -> Registry:
    from graftwork.registry import Registry

    return Registry(load_settings(), make_reporter(output))


def _tell(change: AliasChange, output: Output) -> None:
    if output == "json":
        print_json(asdict(change))
    elif change.before == change.after:
        console().print(f"{change.name}@{change.alias} points to version {change.after} already")
    else:
        before = f" (before: version {change.before})" if change.before is not None else ""
        console().print(f"{change.name}@{change.alias} now points to version {change.after}{before}")


def _model_content(model: RegisteredModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "aliases": model.aliases,
        "versions": [asdict(version) for version in model.versions],
        "moves": [
            {"at": _time(move.at_ns), "alias": move.alias, "kind": move.kind, "version": move.version}
            for move in model.moves
        ],
    }


def _list_row(model: RegisteredModel, metrics: Sequence[str]) -> tuple[object, ...]:
    newest = model.versions[0]
    aliases = ", ".join(f"{alias} -> {version}" for alias, version in model.aliases.items())
    figures = (_figure(newest.metrics, metric) for metric in metrics)
    return (model.name, len(model.versions), newest.version, aliases or None, *figures, newest.created_at)


def _version_row(version: ModelVersion, metrics: tuple[str, ...]) -> tuple[object, ...]:
    figures = (_figure(version.metrics, metric) for metric in metrics)
    aliases = ", ".join(version.aliases) or None
    run = f"{version.job}/{version.run_id}"
    return (version.version, aliases, *figures, version.backbone, run, version.created_at, version.digest[:12])


def _common_metrics(model: RegisteredModel) -> tuple[str, ...]:
    """The main metrics, and accuracy on the further test sets."""
    further = {name for version in model.versions for name in version.metrics if name.endswith("/accuracy")}
    return (*_main_metrics(model.versions), *sorted(further))


def _main_metrics(versions: Sequence[ModelVersion]) -> tuple[str, ...]:
    """Those of them that any of the versions has."""
    return tuple(metric for metric in _MAIN_METRICS if any(metric in version.metrics for version in versions))


def _print_manifest(content: Mapping[str, Any]) -> None:
    manifest = content["manifest"]
    lineage = manifest["lineage"]
    rows = [
        ("bundle", content["path"]),
        ("digest", manifest["manifest_digest"]),
        ("created", manifest["created_at"]),
        ("task", manifest["task"]),
        ("input", _input_words(manifest["input"])),
        ("labels", ", ".join(manifest["output"]["labels"])),
        ("backbone", f"{manifest['backbone']['source']} ({manifest['backbone']['weights']})"),
        ("run", f"{lineage['job']}/{lineage['run_id']}"),
        ("data", lineage["data_digest"]),
        ("libraries", ", ".join(f"{name} {version}" for name, version in lineage["libraries"].items())),
        *((name, f"{value:.4f}") for name, value in manifest["metrics"].items()),
        *(
            (f"{test}/{name}", f"{value:.4f}")
            for test, metrics in manifest["extra_metrics"].items()
            for name, value in metrics.items()
        ),
    ]
    print_table(("what", "value"), rows, title=f"{content['name']}/{content['version']}")


def _input_words(signature: Mapping[str, Any]) -> str:
    if signature["kind"] == "text":
        return f"texts, up to {signature['max_tokens']} tokens"
    return f"{signature['height']} x {signature['width']} pixels, {signature['resize']}"


def _figure(metrics: Mapping[str, float], name: str) -> str | None:
    return f"{metrics[name]:.4f}" if name in metrics else None


def _time(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat(timespec="seconds")
