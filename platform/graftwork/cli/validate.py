"""`graft validate`: check spec files and list every error."""

from __future__ import annotations

import click

from graftwork.cli.options import Output, output_option


@click.command("validate")
@click.argument("files", nargs=-1, required=True, type=click.Path(allow_dash=True))
@output_option
@click.pass_context
def command(ctx: click.Context, files: tuple[str, ...], output: Output) -> None:
    """Check spec FILES (`-` for standard input) and list every error.

    Looks at the files only: `graft plan` also looks at the data and the backbone they name. Exit code 0: all are right;
    2: something is wrong.
    """
    from graftwork.cli.console import print_json
    from graftwork.spec.load import check_specs

    loaded, problems = check_specs(files)
    if output == "json":
        objects = [
            {"file": spec.file, "line": spec.line, "kind": spec.object.kind, "name": spec.object.metadata.name}
            for spec in loaded
        ]
        print_json({"valid": not problems, "objects": objects, "problems": [each.as_dict() for each in problems]})
    else:
        for spec in loaded:
            click.echo(f"{spec.file}: {spec.object.kind} {spec.object.metadata.name} is valid")
        for problem in problems:
            click.echo(str(problem), err=True)
        if problems:
            click.echo(f"{len(problems)} {'error' if len(problems) == 1 else 'errors'}", err=True)
    if problems:
        ctx.exit(2)
