"""`graft stop`: give a job's pods back; it can go on later."""

from __future__ import annotations

import click

from graftwork.cli.cluster_options import cluster_options, place_of
from graftwork.cli.console import print_json
from graftwork.cli.options import Output, output_option
from graftwork.errors import Problem, SpecError


@click.command("stop")
@click.argument("name")
@click.option("--resume", is_flag=True, help="Let the stopped job go on.")
@cluster_options
@output_option
def command(name: str, resume: bool, context: str | None, namespace: str | None, output: Output) -> None:  # noqa: FBT001 (click passes flags by name)
    """Stop the job NAME on the cluster; `--resume` lets it go on from its last checkpoint."""
    place = place_of(context, namespace)
    found = place.find(name)
    if found["kind"] != "FineTuneJob":
        raise SpecError(
            Problem(where=name, received="an endpoint", expected="a job", fix=f"Remove it with: graft delete {name}")
        )
    short = found["metadata"]["name"]
    place.cluster.merge(found, {"spec": {"kubernetes": {"suspend": not resume}}})
    if output == "json":
        print_json({"name": short, "suspend": not resume})
    else:
        click.echo(f"{short} goes on." if resume else f"{short} stops. Let it go on with: graft stop --resume {short}")
