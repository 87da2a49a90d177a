"""`graft submit`: hand spec files to a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from graftwork.cli.cluster_options import cluster_options, place_of
from graftwork.cli.console import print_json
from graftwork.cli.options import Output, output_option


@click.command("submit")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@cluster_options
@output_option
def command(files: tuple[Path, ...], context: str | None, namespace: str | None, output: Output) -> None:
    """Check FILES here, then apply their jobs and endpoints to the cluster of the current context."""
    from graftwork.spec.load import load_specs

    loaded = load_specs(files)
    place = place_of(context, namespace)
    submitted = []
    for each in loaded:
        metadata: dict[str, Any] = {"namespace": place.namespace, **each.raw["metadata"]}
        place.cluster.apply({**each.raw, "metadata": metadata}, manager="graft", strict=True)
        name, where = metadata["name"], metadata["namespace"]
        submitted.append({"kind": each.object.kind, "name": name, "namespace": where})
        if output == "text":
            click.echo(f"{each.object.kind}/{name} submitted to {where}. Follow it with: graft status {name}")
    if output == "json":
        print_json(submitted)
