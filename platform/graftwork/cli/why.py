"""`graft why`: the one cause that keeps a job or an endpoint from getting on, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from graftwork.cli.cluster_options import cluster_options, place_of
from graftwork.cli.console import print_json
from graftwork.cli.options import Output, output_option

if TYPE_CHECKING:
    from graftwork.controller.cluster import Cluster, Object
    from graftwork.controller.why import Cause


@click.command("why")
@click.argument("name")
@cluster_options
@output_option
def command(name: str, context: str | None, namespace: str | None, output: Output) -> None:
    """Say why the job or endpoint NAME on the cluster is stuck or failed, and the fix."""
    place = place_of(context, namespace)
    found = place.find(name)
    short = found["metadata"]["name"]
    cause = cause_of(found, place.cluster)
    phase = (found.get("status") or {}).get("phase", "Pending")
    if output == "json":
        print_json({"name": short, "phase": phase, "cause": None if cause is None else asdict(cause)})
    elif cause is None:
        click.echo(f"{short} is {phase}; nothing is wrong.")
    else:
        click.echo(f"{short} is {phase}: {cause.reason}\n  {cause.what}\n  {cause.fix.replace('NAME', short)}")


def cause_of(found: Object, cluster: Cluster) -> Cause | None:
    """Why a job or endpoint does not get on; None if nothing is wrong."""
    from graftwork.controller.names import ENDPOINT_LABEL, JOB_LABEL
    from graftwork.controller.why import Evidence, why

    name, namespace = found["metadata"]["name"], found["metadata"]["namespace"]
    label = JOB_LABEL if found["kind"] == "FineTuneJob" else ENDPOINT_LABEL
    evidence = Evidence(
        target=found,
        pods=cluster.list("v1", "Pod", namespace, labels=f"{label}={name}"),
        # Objects made for it have names that begin with its own.
        events=[
            event
            for event in cluster.list("v1", "Event", namespace)
            if event["involvedObject"].get("name", "").startswith(name)
        ],
        now=datetime.now(UTC),
    )
    return why(evidence)
