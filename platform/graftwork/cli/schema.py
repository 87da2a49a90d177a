"""`graft schema`: print the JSON Schema of the spec files."""

from __future__ import annotations

import click

from graftwork.near_names import did_you_mean


@click.command("schema")
@click.argument("kind", required=False)
def command(kind: str | None) -> None:
    """Print the JSON Schema of KIND (FineTuneJob or InferenceEndpoint), or one for all kinds.

    With `graft schema > graftwork.json` and a first line `# yaml-language-server: $schema=graftwork.json`, editors
    complete and check spec files.
    """
    from graftwork.spec.load import KINDS
    from graftwork.spec.schema import schema_of, schema_of_any_kind, schema_text

    if kind is not None and kind not in KINDS:
        hint = did_you_mean(kind, KINDS) or f"The kinds are {', '.join(KINDS)}."
        raise click.BadParameter(f"there is no kind {kind!r}. {hint}", param_hint="KIND")
    click.echo(schema_text(schema_of(kind) if kind is not None else schema_of_any_kind()), nl=False)
