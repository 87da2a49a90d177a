from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import pytest

from graftwork.spec.load import KINDS, guide_of
from graftwork.spec.repair import sample
from graftwork.spec.schema import SCHEMA_DIR, schema_files, schema_of, schema_of_any_kind
from graftwork.spec.schema_words import SchemaGuide
from tests.unit.spec.examples import ENDPOINT, JOB, changed, without


def test_committed_schemas_are_those_of_the_models() -> None:
    """The files in `schema/` are what `python -m graftwork.spec.schema` writes."""
    assert {file.name: file.read_text() for file in SCHEMA_DIR.glob("*.json")} == schema_files()


@pytest.mark.parametrize("schema", [schema_of_any_kind(), *map(schema_of, KINDS)])
def test_schemas_are_well_formed(schema: dict[str, Any]) -> None:
    """Every schema obeys its own dialect."""
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("example", [JOB, ENDPOINT])
def test_schema_accepts_what_the_models_accept(example: dict[str, Any]) -> None:
    """A valid spec passes the schema of its kind and the one for all kinds."""
    jsonschema.validate(example, schema_of(example["kind"]))
    jsonschema.validate(example, schema_of_any_kind())


@pytest.mark.parametrize(
    "broken",
    [
        changed(JOB, ("spec", "typo"), 1),
        changed(JOB, ("spec", "scaling", "workers"), 0),
        changed(JOB, ("spec", "phases", 0, "unfreeze"), "nonee"),
        without(JOB, ("spec", "phases")),
        changed(ENDPOINT, ("spec", "engine"), "magic"),
        changed(JOB, ("kind",), "InferenceEndpoint"),
    ],
)
def test_schema_refuses_what_the_models_refuse(broken: dict[str, Any]) -> None:
    """Editors see wrong keys, values and kinds."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema_of_any_kind())


def _fields(schema: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(schema, dict):
        for key, field in schema.get("properties", {}).items():
            yield f"{path}.{key}", field
        for key, child in schema.items():
            yield from _fields(child, f"{path}.{key}")
    elif isinstance(schema, list):
        for child in schema:
            yield from _fields(child, path)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_described(kind: str) -> None:
    """Each field has a docstring that became its description, a full sentence."""
    schema = schema_of(kind)
    fields = dict(_fields(schema, kind))
    assert len(fields) > 20
    # Pydantic leaves out a description that repeats that of the section it refers to.
    described = {
        path: field.get("description") or schema["$defs"][field["$ref"].rpartition("/")[2]]["description"]
        for path, field in fields.items()
    }
    assert [path for path, text in described.items() if not text.rstrip().endswith((".", ")"))] == []


@pytest.mark.parametrize("kind", KINDS)
def test_samples_satisfy_their_schema(kind: str) -> None:
    """What stands in for wrong values is right: the models accept a whole object made of samples."""
    guide: SchemaGuide = guide_of(kind)
    KINDS[kind].model_validate(sample(guide, guide.root, unique=0), strict=True)
