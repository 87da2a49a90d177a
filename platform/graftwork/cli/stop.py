"""`graft stop`: give a job's pods back; it can go on later."""

from __future__ import annotations

import click

from graftwork.cli.cluster_options import cluster_options, place_of
from graftwork.cli.console import print_json
from graftwork.cli.options import Output, output_option
from graftwork.errors import Problem, SpecError
from graftwork.spec.status import ENDED


@click.command("stop")
@click.argument("name")
@click.option("--resume", is_flag=True, help="Let the stopped job go on.")
@cluster_options
@output_option
def command(name: str, resume: bool, context: str | None, namespace: str | None, output: Output) -> None:  # noqa: FBT001 (click passes flags by name)
    """Stop the job NAME on the cluster; `--resume` lets it go on from its last checkpoint.

    A job with a schedule starts no more runs until it goes on; stop a run that is under way by the run's own name.
    """
    place = place_of(context, namespace)
    found = place.find(name)
    if found["kind"] != "FineTuneJob":
        raise SpecError(
            Problem(where=name, received="an endpoint", expected="a job", fix=f"Remove it with: graft delete {name}")
        )
    short = found["metadata"]["name"]
    has_schedule = found["spec"].get("schedule") is not None
    phase = (found.get("status") or {}).get("phase")
    if phase in ENDED and not has_schedule:
        fix = "Change its spec and submit it again, or `graft delete` and `graft submit` it."
        raise SpecError(
            Problem(where=name, received=f"a job that has {phase.lower()}", expected="one under way", fix=fix)
        )
    place.cluster.merge(found, {"spec": {"schedule" if has_schedule else "kubernetes": {"suspend": not resume}}})
    if output == "json":
        print_json({"name": short, "suspend": not resume})
    elif resume:
        click.echo(f"{short} goes on.")
    else:
        stops = "starts no more runs; one that is under way goes on" if has_schedule else "stops"
        click.echo(f"{short} {stops}. Let it go on with: graft stop --resume {short}")
