"""`graft logs`: what a job or an endpoint on a cluster prints."""

from __future__ import annotations

import json

import click

from graftwork.cli.cluster_options import cluster_options, place_of
from graftwork.cli.options import Output, output_option
from graftwork.controller.names import ENDPOINT_LABEL, JOB_LABEL
from graftwork.errors import PermanentError


@click.command("logs")
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on until the pod ends.")
@click.option("--tail", type=click.IntRange(min=0), help="Only so many of the last lines.")
@cluster_options
@output_option
def command(
    name: str,
    follow: bool,  # noqa: FBT001 (click passes flags by name)
    tail: int | None,
    context: str | None,
    namespace: str | None,
    output: Output,
) -> None:
    """Print what the driver of the job NAME, or the newest replica of the endpoint NAME, prints."""
    place = place_of(context, namespace)
    found = place.find(name)
    label = JOB_LABEL if found["kind"] == "FineTuneJob" else ENDPOINT_LABEL
    pods = place.cluster.list("v1", "Pod", place.namespace, labels=f"{label}={found['metadata']['name']}")
    # The submitter prints what the driver does, and stays when the cluster is gone.
    chosen = [
        (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"], container["name"])
        for wanted in (("ray-job-submitter",) if found["kind"] == "FineTuneJob" else ("ray-worker",)) + ("ray-head",)
        for pod in pods
        for container in pod["spec"]["containers"]
        if container["name"] == wanted
    ]
    if not chosen:
        raise PermanentError(f"{name} has no pod yet. Find out why with: graft why {name}")
    first = chosen[0][2]
    _, pod, container = max(each for each in chosen if each[2] == first)
    for line in place.cluster.logs(place.namespace, pod, follow=follow, tail=tail, container=container):
        click.echo(json.dumps({"pod": pod, "line": line}) if output == "json" else line)
