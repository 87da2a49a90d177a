"""How a model is named."""

from __future__ import annotations

import pytest

from graftwork.errors import SpecError
from graftwork.spec.references import (
    AliasReference,
    PathReference,
    VersionReference,
    check_alias,
    check_name,
    parse_reference,
)


def test_alias() -> None:
    """NAME@ALIAS."""
    assert parse_reference("flowers@champion") == AliasReference(name="flowers", alias="champion")


def test_version() -> None:
    """NAME/VERSION."""
    assert parse_reference("my-flowers/12") == VersionReference(name="my-flowers", version=12)


@pytest.mark.parametrize(
    "text", ["./flowers/3", "/a/b", "runs/flowers/x/bundle", "flowers", "a/b/3", "../3", "Flowers@x", "a@b@c", "a/3/"]
)
def test_anything_else_is_a_path(text: str) -> None:
    """A leading ./ makes a path of what looks like a version."""
    assert parse_reference(text) == PathReference(path=text)


@pytest.mark.parametrize("text", ["flowers@3", "flowers@v3", "flowers:3", "flowers:v3"])
def test_versions_as_others_write_them_are_answered_with_ours(text: str) -> None:
    """Rather than looked for as a directory or an alias that cannot be."""
    with pytest.raises(SpecError, match=r"Write flowers/3 for version 3"):
        parse_reference(text)


@pytest.mark.parametrize("alias", ["latest", "v3", "3", "", "a b", "A", "-a", "a-", "x" * 64, "a\n"])
def test_alias_that_cannot_be_used(alias: str) -> None:
    """What a reference could not hold, or MLflow keeps for itself."""
    with pytest.raises(SpecError, match="alias: received"):
        check_alias(alias)


@pytest.mark.parametrize("alias", ["champion", "a", "v3a", "blue-green-2", "x" * 63])
def test_alias_that_can_be_used(alias: str) -> None:
    """It comes back from a reference."""
    check_alias(alias)
    assert parse_reference(f"m@{alias}") == AliasReference(name="m", alias=alias)


@pytest.mark.parametrize("name", ["", "Flowers", "a/b", "a@b", "-a", "a'b", "x" * 64, "a\n"])
def test_name_that_cannot_be_used(name: str) -> None:
    """Names follow the rules of Kubernetes objects."""
    with pytest.raises(SpecError, match="model name: received"):
        check_name(name)
