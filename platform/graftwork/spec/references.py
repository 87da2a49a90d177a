"""How a user names a model: `NAME@ALIAS`, `NAME/VERSION` or the path of a bundle directory. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from graftwork.errors import Problem, SpecError

_NAME = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_ALIAS = r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?"
_BY_ALIAS = re.compile(rf"({_NAME})@({_ALIAS})")
_BY_VERSION = re.compile(rf"({_NAME})/([0-9]+)")
# As other registries write versions: m@3, m@v3, m:3.
_AS_ELSEWHERE = re.compile(rf"({_NAME})[@:]v?([0-9]+)")
# MLflow keeps these for itself.
_RESERVED_ALIAS = re.compile(r"latest|v[0-9]+")


@dataclass(frozen=True, kw_only=True)
class AliasReference:
    """The version an alias points to now."""

    name: str
    alias: str


@dataclass(frozen=True, kw_only=True)
class VersionReference:
    """One version, for ever."""

    name: str
    version: int


@dataclass(frozen=True, kw_only=True)
class PathReference:
    """A bundle directory."""

    path: str


REFERENCES = "NAME/VERSION, NAME@ALIAS or the path of a bundle directory"
"""What a reference may be."""
ModelReference = AliasReference | VersionReference | PathReference


def parse_reference(text: str) -> ModelReference:
    """Read a model reference.

    What looks like `NAME@ALIAS` or `NAME/VERSION` is one; write `./flowers/3` for a directory of that name.

    Raises:
        SpecError: it looks like a version as it is written elsewhere, such as `flowers@3`.
    """
    if meant := version_as_elsewhere(text):
        raise SpecError(
            Problem(
                where=text,
                received="a number behind a model's name",
                expected=REFERENCES,
                fix=f"Write {meant.name}/{meant.version} for version {meant.version}, or ./{text} for a directory of "
                "that name.",
            )
        )
    if match := _BY_ALIAS.fullmatch(text):
        return AliasReference(name=match[1], alias=match[2])
    if match := _BY_VERSION.fullmatch(text):
        return VersionReference(name=match[1], version=int(match[2]))
    return PathReference(path=text)


def version_as_elsewhere(text: str) -> VersionReference | None:
    """The version that a reference means if it is written as other registries write it, such as `flowers@3`."""
    match = _AS_ELSEWHERE.fullmatch(text)
    return None if match is None else VersionReference(name=match[1], version=int(match[2]))


def check_name(name: str) -> None:
    """Refuse a model name that a reference could not hold.

    Raises:
        SpecError: it is none.
    """
    if not re.fullmatch(_NAME, name):
        raise SpecError(
            Problem(
                where="model name",
                received=repr(name),
                expected="1 to 63 lower-case letters, digits and hyphens, no hyphen at either end",
                fix="Choose a name such as `flowers`.",
            )
        )


def check_alias(alias: str) -> None:
    """Refuse an alias that a reference could not hold or that MLflow keeps for itself.

    Raises:
        SpecError: it is none.
    """
    if not re.fullmatch(_ALIAS, alias) or _RESERVED_ALIAS.fullmatch(alias):
        raise SpecError(
            Problem(
                where="alias",
                received=repr(alias),
                expected="1 to 63 lower-case letters, digits and hyphens that start with a letter, "
                "not `latest` and not like `v3`",
                fix="Choose an alias such as `champion`.",
            )
        )
