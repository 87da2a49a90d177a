"""`graft explain`: what the fields of a spec mean."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from graftwork.cli.console import print_json
from graftwork.cli.options import Output, output_option
from graftwork.near_names import did_you_mean

if TYPE_CHECKING:
    from graftwork.spec.reference import FieldWords, Section

_WIDTH = 100


@click.command("explain")
@click.argument("place", metavar="[KIND.]PATH")
@output_option
def command(place: str, output: Output) -> None:
    """Say what the fields of a spec mean: `graft explain FineTuneJob.spec.phases.unfreeze`.

    KIND is FineTuneJob or InferenceEndpoint; PATH leads to a section or a single field. Where only one kind has such a
    path, it need not be named: `graft explain phases.unfreeze`.
    """
    from graftwork.spec.reference import sections_of

    kind, path = _kind_and_path(place)
    section, fields = _find(sections_of(kind), path)
    if output == "json":
        print_json({**asdict(section), "fields": [asdict(field) for field in fields]})
        return
    click.echo(f"{kind}.{section.path}")
    if len(fields) == len(section.fields):
        click.echo(textwrap.fill(section.meaning, _WIDTH))
    for field in fields:
        click.echo("\n" + _words(field))


def _kind_and_path(place: str) -> tuple[str, str]:
    """The kind that is named or meant, and the path in it."""
    from graftwork.spec.reference import PAGES, sections_of

    first, _, rest = place.partition(".")
    named = next((kind for kind in PAGES if kind.lower() == first.lower()), None)
    if named is not None:
        return named, rest or "spec"
    path = place if first == "spec" else f"spec.{place}"
    holding = [kind for kind in PAGES if path.replace("[]", "") in _paths(sections_of(kind))]
    match holding:
        case [kind]:
            return kind, path
        case []:
            hint = did_you_mean(first, PAGES) or f"The kinds are {', '.join(PAGES)}."
            raise click.BadParameter(
                f"there is no kind {first!r}, and no field spec.{first}. {hint}", param_hint="KIND"
            )
        case _:
            both = " or ".join(f"{kind}.{path}" for kind in holding)
            raise click.BadParameter(f"several kinds have {path}. Write {both}.", param_hint="KIND")


def _paths(sections: tuple[Section, ...]) -> list[str]:
    """Of all sections and fields, without the marks of lists."""
    names = [section.path.replace("[]", "") for section in sections]
    return [
        *names,
        *(f"{name}.{field.key}" for name, section in zip(names, sections, strict=True) for field in section.fields),
    ]


def _find(sections: tuple[Section, ...], path: str) -> tuple[Section, tuple[FieldWords, ...]]:
    """The section at a path, or the one that holds the field there, with the fields that are meant."""
    wanted = path.replace("[]", "").removesuffix(".")
    by_path = {section.path.replace("[]", ""): section for section in sections}
    if wanted in by_path:
        return by_path[wanted], by_path[wanted].fields
    above, _, key = wanted.rpartition(".")
    if above in by_path:
        for field in by_path[above].fields:
            if field.key == key:
                return by_path[above], (field,)
    near = did_you_mean(wanted, _paths(sections))
    hint = near or f"It begins with spec: {', '.join(field.key for field in sections[0].fields)}."
    raise click.BadParameter(f"there is no field {path!r}. {hint}", param_hint="PATH")


def _words(field: FieldWords) -> str:
    state = "required" if field.required else f"default: {field.default}" if field.default else "optional"
    more = f" (see {field.section})" if field.section is not None else ""
    lines = textwrap.wrap(f"{field.type}; {state}{more}", _WIDTH, initial_indent="  ", subsequent_indent="  ")
    meaning = textwrap.wrap(field.meaning, _WIDTH, initial_indent="    ", subsequent_indent="    ")
    return "\n".join([click.style(field.key, bold=True), *lines, *meaning])
