"""`graft endpoints`: the endpoints that run on this machine."""

from __future__ import annotations

import click

from graftwork.cli.console import make_reporter, print_json, print_table
from graftwork.cli.options import Output, output_option
from graftwork.endpoint_state import EndpointState, require_endpoint, running_endpoints
from graftwork.settings import load_settings


@click.group("endpoints")
def command() -> None:
    """Endpoints that run on this machine."""


@command.command("list")
@output_option
def list_endpoints(output: Output) -> None:
    """List running endpoints."""
    states = running_endpoints(load_settings().endpoints_dir)
    if output == "json":
        print_json([state.model_dump(mode="json") for state in states])
    elif states:
        rows = [
            (state.name, "ready" if state.ready else "starting", state.url, ", ".join(state.models), str(state.pid))
            for state in states
        ]
        print_table(("NAME", "STATE", "URL", "MODELS", "PROCESS"), rows)
    else:
        click.echo("No endpoint runs here. Start one with: graft serve FILE")


@command.command("show")
@click.argument("name")
@output_option
def show(name: str, output: Output) -> None:
    """Show one running endpoint."""
    state = require_endpoint(load_settings().endpoints_dir, name)
    if output == "json":
        print_json(state.model_dump(mode="json"))
        return
    for key, value in _told(state).items():
        if value:
            click.echo(f"{key}: {value}")


@command.command("stop")
@click.argument("name")
@output_option
def stop(name: str, output: Output) -> None:
    """Stop a running endpoint; requests in progress are answered first."""
    from graftwork_serving.background import stop_endpoint

    state = require_endpoint(load_settings().endpoints_dir, name)
    with make_reporter(output).task(f"Stop endpoint {name}", None):
        stop_endpoint(state)
    if output == "json":
        print_json({"name": name, "stopped": True})


@command.command("update")
@click.argument("name")
@output_option
def update(name: str, output: Output) -> None:
    """Let a running endpoint follow its file and the registry's aliases, without an interruption."""
    from graftwork_serving.background import update_endpoint

    settings = load_settings()
    state = require_endpoint(settings.endpoints_dir, name)
    with make_reporter(output).task(f"Update endpoint {name}", None):
        state = update_endpoint(state, settings=settings)
    if output == "json":
        print_json(state.model_dump(mode="json"))
    else:
        click.echo(f"Endpoint {name} now serves {', '.join(state.models)}.")


def _told(state: EndpointState) -> dict[str, str | None]:
    """What a person wants to know, in words; empty where there is nothing to say."""
    return {
        "name": state.name,
        "state": "ready" if state.ready else "starting",
        "url": state.url,
        "gRPC": state.grpc,
        "models": ", ".join(state.models),
        "asks for": "a key or token" if state.asks_for_key else None,
        "not served": "; ".join(state.given_up),
        "last error": state.last_error,
        "file": state.spec_file,
        "process": str(state.pid),
    }
