"""`graft serve`: run an endpoint on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from graftwork.cli.console import make_reporter, print_json
from graftwork.cli.options import Output, output_option

if TYPE_CHECKING:
    from graftwork.endpoint_state import EndpointState
    from graftwork.progress import Reporter


@click.command("serve")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--detach", is_flag=True, help="Keep the endpoint running in the background and return once it is ready.")
@click.option("--models-from-stdin", is_flag=True, hidden=True)
@output_option
def command(file: Path, detach: bool, models_from_stdin: bool, output: Output) -> None:  # noqa: FBT001 (click passes flags by name)
    """Serve the models of the InferenceEndpoint in FILE over HTTP.

    Runs until Ctrl-C, which lets requests in progress finish. With --detach it runs in the background until
    `graft endpoints stop NAME`.
    """
    from graftwork.settings import load_settings
    from graftwork.spec.load import problems_placed
    from graftwork_serving.background import models_from, serve_in_background
    from graftwork_serving.foreground import serve_endpoint
    from graftwork_serving.spec_file import load_endpoint

    settings, reporter = load_settings(), make_reporter(output)
    loaded = load_endpoint(file)
    with problems_placed(loaded.source):
        if detach:
            _announce(serve_in_background(loaded, settings=settings, reporter=reporter), output, reporter, stop=True)
            return
        serve_endpoint(
            loaded,
            settings=settings,
            reporter=reporter,
            on_ready=lambda state: _announce(state, output, reporter, stop=False),
            found=(lambda: models_from(sys.stdin.buffer)) if models_from_stdin else None,
        )


# What to send, with curl and with `graft predict`.
_PICTURE = ("--data-binary @cat.jpg", "cat.jpg")


def _announce(state: EndpointState, output: Output, reporter: Reporter, *, stop: bool) -> None:
    if output == "json":
        print_json(state.model_dump(mode="json"))
        return
    reporter.say(f"Endpoint {state.name} answers at {state.url} with {', '.join(state.models)}.")
    example = ("-H 'Content-Type: text/plain' -d 'some text'", "--text 'some text'") if state.takes_text else _PICTURE
    key = '-H "x-api-key: $GRAFT_API_KEY" ' if state.asks_for_key else ""
    reporter.say(f"  curl {key}{example[0]} {state.url}/v1/endpoints/{state.name}/predict")
    if state.grpc is not None:
        reporter.say(f"  gRPC (Open Inference Protocol): {state.grpc}")
    reporter.say(f"  graft predict {state.name} {example[1]}")
    if state.asks_for_key:
        reporter.say("  It asks for a key: export GRAFT_API_KEY=... first.")
    reporter.say(f"Stop it with: graft endpoints stop {state.name}" if stop else "Stop it with Ctrl-C.")
