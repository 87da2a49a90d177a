"""`graft delete`: remove a job or an endpoint from a cluster."""

from __future__ import annotations

import click

from graftwork.cli.cluster_options import cluster_options, place_of
from graftwork.cli.console import print_json
from graftwork.cli.options import Output, output_option


@click.command("delete")
@click.argument("name")
@cluster_options
@output_option
def command(name: str, context: str | None, namespace: str | None, output: Output) -> None:
    """Remove the job or endpoint NAME with all its pods; registered models and stored runs stay."""
    place = place_of(context, namespace)
    found = place.find(name)
    metadata = found["metadata"]
    place.cluster.delete(found["apiVersion"], found["kind"], place.namespace, metadata["name"], uid=metadata["uid"])
    if output == "json":
        print_json({"kind": found["kind"], "name": metadata["name"], "namespace": place.namespace})
    else:
        click.echo(f"{found['kind']}/{metadata['name']} is deleted.")
