"""What to say to a reference that leads nowhere. Pure."""

from __future__ import annotations

from graftwork.errors import Problem, SpecError
from graftwork.near_names import did_you_mean
from graftwork.registry.records import ModelVersion, RegisteredModel


def no_alias(where: str, model: RegisteredModel, alias: str) -> SpecError:
    """The model has no such alias."""
    known = ", ".join(f"{name} (version {version})" for name, version in model.aliases.items()) or "none"
    hint = did_you_mean(alias, model.aliases)
    newest = model.versions[0].version
    fix = f"{hint} See: graft models show {model.name}." if hint else f"Name a version, such as {model.name}/{newest}."
    return SpecError(
        Problem(where=where, received=f"the alias {alias!r}", expected=f"an alias of {model.name}: {known}", fix=fix)
    )


def nothing_before(where: str, current: int, deleted: int | None) -> SpecError:
    """The alias pointed to no other version before, or to none that is still there."""
    name, _, alias = where.partition("@")
    why = "the first one this alias pointed to" if deleted is None else f"before which it was {deleted}, deleted since"
    return SpecError(
        Problem(
            where=where,
            received=f"version {current}, {why}",
            expected="an alias that pointed to another version before",
            fix=f"Point it to a version by hand: graft models alias {name} {alias} VERSION.",
        )
    )


def bare_name(reference: str, model: RegisteredModel) -> SpecError:
    """A name without alias or version."""
    choices = [f"{model.name}@{alias}" for alias in model.aliases]
    choices.append(f"{model.name}/{model.versions[0].version}")
    return SpecError(
        Problem(
            where=reference,
            received="a model name alone",
            expected="NAME@ALIAS, NAME/VERSION or the path of a bundle directory",
            fix=f"Write {' or '.join(choices)}.",
        )
    )


def still_named(version: ModelVersion) -> SpecError:
    """A version that something may be served by."""
    alias = version.aliases[0]
    return SpecError(
        Problem(
            where=f"{version.name}/{version.version}",
            received=f"a version that {', '.join(version.aliases)} points to",
            expected="one that no alias points to",
            fix=f"Move the alias first: graft models alias {version.name} {alias} VERSION.",
        )
    )
