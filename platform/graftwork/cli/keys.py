"""`graft keys`: make, list and revoke the API keys of endpoints."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from graftwork.cli.console import print_json, print_table
from graftwork.cli.options import Output, output_option

if TYPE_CHECKING:
    from graftwork.api_keys import ApiKey

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_EXPIRY = re.compile(r"^([1-9][0-9]{0,5})([mhd])$")

_file_option = click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("keys.yaml"),
    show_default=True,
    help="File of key hashes.",
)


def _moment(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """A time from now such as 90d, or a moment such as 2027-01-31."""
    from graftwork.api_keys import utc_now

    if value is None:
        return None
    now = utc_now()
    if found := _EXPIRY.match(value):
        return (now + int(found[1]) * _UNITS[found[2]]).replace(microsecond=0)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no time such as 90d, 12h or 2027-01-31.", ctx, param) from error
    moment = moment.replace(tzinfo=moment.tzinfo or now.tzinfo)
    if moment <= now:
        raise click.BadParameter(f"{value!r} is in the past.", ctx, param)
    return moment


@click.group()
def command() -> None:
    """Make, list and revoke the API keys of endpoints.

    The file holds hashes; endpoints whose spec says `auth: {apiKeys: {file: keys.yaml}}` follow it without a restart.
    On Kubernetes it is an entry of a Secret:
    kubectl create secret generic flowers-keys --from-file=keys.yaml
    """


@command.command("create")
@click.argument("name")
@_file_option
@click.option("--models", help="Models it may ask, separated by commas; default all.")
@click.option(
    "--expires", metavar="TIME", callback=_moment, help="When it stops working: 90d, 12h, 2027-01-31; default never."
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    help="Requests a second in the long run, whatever they hold; default any.",
)
@click.option("--burst", type=click.IntRange(min=1), help="Requests at once beyond that; default those of a second.")
@output_option
def create(
    name: str,
    file: Path,
    models: str | None,
    expires: datetime | None,
    rate: float | None,
    burst: int | None,
    output: Output,
) -> None:
    """Make a key for NAME, print it this once, and add its hash to the file."""
    from graftwork.api_keys import KeyFile, new_key, read_key_file, write_key_file
    from graftwork.spec.base import NAME_PATTERN, PATTERN_WORDS

    if burst is not None and rate is None:
        raise click.UsageError("--burst needs --rate, beyond which it counts.")
    content = read_key_file(file) if file.exists() else KeyFile()
    names = [each.strip() for each in models.split(",") if each.strip()] if models is not None else None
    if names == []:
        raise click.UsageError("--models names none. Leave it out for all.")
    if re.match(NAME_PATTERN, name) is None:
        raise click.UsageError(f"NAME: received {name!r}, expected {PATTERN_WORDS[NAME_PATTERN]}.")
    key, entry = new_key(name, models=names, expires=expires, requests_per_second=rate, burst=burst)
    write_key_file(file, KeyFile(keys=[*content.keys, entry]))
    if output == "json":
        print_json({"key": key, "id": entry.id, "name": name, "file": str(file)})
        return
    click.echo(key)
    click.echo(f"The hash is in {file}. The key is not kept anywhere: note it now.", err=True)


@command.command("list")
@_file_option
@output_option
def list_keys(file: Path, output: Output) -> None:
    """List the keys in the file."""
    from graftwork.api_keys import is_expired, read_key_file, utc_now

    keys = read_key_file(file).keys
    if output == "json":
        print_json([key.model_dump(mode="json", by_alias=True, exclude={"sha256"}) for key in keys])
        return
    now = utc_now()
    print_table(
        ("id", "name", "models", "expires", "rate"),
        [
            (
                key.id,
                key.name,
                ", ".join(key.models) if key.models else "all",
                f"{key.expires:%Y-%m-%d %H:%M}{' (over)' if is_expired(key, now) else ''}" if key.expires else "never",
                f"{key.requests_per_second:g}/s" if key.requests_per_second else "any",
            )
            for key in keys
        ],
    )


@command.command("revoke")
@click.argument("key")
@_file_option
@output_option
def revoke(key: str, file: Path, output: Output) -> None:
    """Remove a key, named by its id, or by its NAME if that has one key only."""
    from graftwork.api_keys import KeyFile, read_key_file, write_key_file

    keys = read_key_file(file).keys
    entry = _one(key, keys, file)
    write_key_file(file, KeyFile(keys=[each for each in keys if each.id != entry.id]))
    if output == "json":
        print_json({"id": entry.id, "name": entry.name, "file": str(file)})
    else:
        click.echo(f"Key {entry.id} of {entry.name} is revoked.")


def _one(named: str, keys: list[ApiKey], file: Path) -> ApiKey:
    from graftwork.errors import Problem, SpecError
    from graftwork.near_names import did_you_mean

    found = [each for each in keys if named in {each.id, each.name}]
    if len(found) == 1:
        return found[0]
    if found:
        expected, fix = "a name with one key", f"Name one by its id: {', '.join(each.id for each in found)}."
    else:
        expected = "the id or the name of a key in the file"
        fix = did_you_mean(named, [each.name for each in keys]) or f"See: graft keys list --file {file}"
    raise SpecError(Problem(file=str(file), where="keys", received=repr(named), expected=expected, fix=fix))
