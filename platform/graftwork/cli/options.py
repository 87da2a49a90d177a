"""Options that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import click

# Shared by all nested click contexts: what `-o` asked for, so that errors can answer in the same form.
OUTPUT_KEY = "graftwork.output"

Output = Literal["text", "json"]
_Function = TypeVar("_Function", bound=Callable[..., Any])


def output_option(function: _Function) -> _Function:
    """Add `-o/--output text|json`; the command takes it as `output: Output`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        is_eager=True,
        callback=_remember,
        help="What to print: text for people or JSON for programs.",
    )(function)


def _remember(ctx: click.Context, _parameter: click.Parameter, value: Output) -> Output:
    ctx.meta[OUTPUT_KEY] = value
    return value


yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def ask(question: str, *, yes: bool) -> None:
    """Go on only with a person's yes.

    Args:
        question: what is about to be done, ending in a question mark.
        yes: it was given on the command line.

    Raises:
        click.UsageError: there is nobody to ask.
        click.Abort: the answer was no.
    """
    if yes:
        return
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort as error:
        if sys.stdin.isatty():
            raise
        raise click.UsageError("Nobody is there to say yes; add --yes.") from error
    if not agreed:
        raise click.Abort
