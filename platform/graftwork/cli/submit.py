"""`graft submit`: hand spec files to a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from graftwork.cli.cluster_options import cluster_options, place_of
from graftwork.cli.console import print_json
from graftwork.cli.options import Output, output_option
from graftwork.spec.status import ENDED


@click.command("submit")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@cluster_options
@output_option
def command(files: tuple[Path, ...], context: str | None, namespace: str | None, output: Output) -> None:
    """Check FILES here, then apply their jobs and endpoints to the cluster of the current context."""
    from graftwork.controller.read_spec import check_for_cluster
    from graftwork.spec.load import load_specs, problems_placed

    loaded = load_specs(files)
    for each in loaded:
        with problems_placed(each):
            check_for_cluster(each.object)
    place = place_of(context, namespace)
    submitted = []
    for each in loaded:
        metadata: dict[str, Any] = {"namespace": place.namespace, **each.raw["metadata"]}
        applied = place.cluster.apply({**each.raw, "metadata": metadata}, manager="graft", strict=True)
        name, where = metadata["name"], metadata["namespace"]
        submitted.append({"kind": each.object.kind, "name": name, "namespace": where})
        if output == "text":
            click.echo(_told(applied, f"{each.object.kind}/{name}", where))
    if output == "json":
        print_json(submitted)


def _told(applied: Mapping[str, Any], what: str, namespace: str) -> str:
    """What becomes of it. A job that has ended and is as it was is not run again."""
    name, status = applied["metadata"]["name"], applied.get("status") or {}
    is_unchanged = status.get("observedGeneration") == applied["metadata"].get("generation")
    if is_unchanged and status.get("phase") in ENDED and applied["kind"] == "FineTuneJob":
        return (
            f"{what} has {status['phase'].lower()} in {namespace} and is as it was, so it is not run again. Change it, "
            f"or run `graft delete {name}` before."
        )
    return f"{what} submitted to {namespace}. Follow it with: graft status {name}"
