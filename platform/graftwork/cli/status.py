"""`graft status`: how jobs and endpoints on a cluster are."""

from __future__ import annotations

from typing import Any

import click

from graftwork.cli.cluster_options import Place, cluster_options, place_of
from graftwork.cli.console import print_json
from graftwork.cli.options import Output, output_option
from graftwork.spec.load import KINDS

_SHOWN = (
    "progress",
    "model",
    "url",
    "runId",
    "rayJob",
    "rayService",
    "startTime",
    "completionTime",
    "lastRun",
    "nextRunTime",
)


@click.command("status")
@click.argument("name", required=False)
@cluster_options
@output_option
def command(name: str | None, context: str | None, namespace: str | None, output: Output) -> None:
    """Show the job or endpoint NAME on the cluster, or all of a namespace."""
    place = place_of(context, namespace)
    found = [place.find(name)] if name is not None else [item for kind in KINDS for item in place.all(kind)]
    if output == "json":
        print_json(found if name is None else found[0])
    elif name is not None:
        _print_one(found[0])
    else:
        _print_all(found, place)


def _print_all(found: list[dict[str, Any]], place: Place) -> None:
    if not found:
        click.echo(f"There are no jobs and no endpoints in {place.namespace}.")
    for item in found:
        status = item.get("status") or {}
        figures = " ".join(str(status[key]) for key in ("progress", "accuracy", "model", "url") if status.get(key))
        if status.get("nextRunTime"):
            figures = f"{figures} last run {status.get('lastRun', 'none')}, next {status['nextRunTime']}".strip()
        head = f"{item['kind']}/{item['metadata']['name']}"
        click.echo(f"{head}  {status.get('phase', 'Pending')}  {figures}".rstrip())


def _print_one(item: dict[str, Any]) -> None:
    status = item.get("status") or {}
    click.echo(
        f"{item['kind']}/{item['metadata']['name']}: {status.get('phase', 'Pending')}. {status.get('message', '')}"
    )
    for key in _SHOWN:
        if status.get(key):
            click.echo(f"  {key}: {status[key]}")
    for metric, value in sorted((status.get("metrics") or {}).items()):
        click.echo(f"  {metric}: {value:.4f}")
    for condition in status.get("conditions") or ():
        message = f" {condition['message']}" if condition.get("message") else ""
        click.echo(f"  {condition['type']}={condition['status']} ({condition['reason']}){message}")
