"""`graft doctor`: check this machine."""

from __future__ import annotations

import click

from graftwork.cli.options import Output, output_option

_MARK = {"ok": "ok     ", "warning": "warning", "error": "ERROR  "}
_COLOUR = {"ok": "green", "warning": "yellow", "error": "red"}


@click.command("doctor")
@output_option
@click.pass_context
def command(ctx: click.Context, output: Output) -> None:
    """Check this machine: libraries, memory, GPUs, disk, ports, interrupted runs.

    Exit code 0: nothing is broken (there may be warnings); 1: something will not work.
    """
    from graftwork import __version__
    from graftwork.cli.console import print_json
    from graftwork.doctor.judge import worst
    from graftwork.doctor.probe import examine
    from graftwork.settings import load_settings

    findings = examine(load_settings())
    if output == "json":
        status = worst(findings)
        print_json({"graftwork": __version__, "status": status, "checks": [each.as_dict() for each in findings]})
    else:
        from graftwork.cli.console import console

        screen = console()
        screen.print(f"graftwork {__version__}")
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            screen.print(_MARK[finding.status], style=_COLOUR[finding.status], end="  ")
            screen.print(f"{finding.name.ljust(width)}  {finding.detail}")
            if finding.fix:
                screen.print(f"{' ' * (width + 11)}{finding.fix}")
    if worst(findings) == "error":
        ctx.exit(1)
