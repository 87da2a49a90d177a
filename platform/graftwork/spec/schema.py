"""JSON Schemas of the spec files, made from the models; editors complete and check specs with them.

`python -m graftwork.spec.schema` writes the committed copies in `schema/`; a test compares them with the models.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from graftwork.spec.load import KINDS

SCHEMA_DIR = Path(__file__).parent / "schema"
ANY_KIND = "graftwork"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(kind: str) -> dict[str, Any]:
    """The JSON Schema of one kind."""
    schema = KINDS[kind].model_json_schema(by_alias=True)
    return {"$schema": _DIALECT, **tidy(schema)}


def schema_of_any_kind() -> dict[str, Any]:
    """One JSON Schema for a file that holds an object of any kind; `kind` chooses."""
    definitions: dict[str, Any] = {}
    for kind, model in KINDS.items():
        schema = tidy(model.model_json_schema(by_alias=True))
        definitions |= schema.pop("$defs", {})
        definitions[kind] = schema
    return {
        "$schema": _DIALECT,
        "title": "Graftwork spec",
        "type": "object",
        "required": ["apiVersion", "kind"],
        "properties": {"kind": {"enum": list(KINDS)}},
        "allOf": [
            {
                "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                "then": {"$ref": f"#/$defs/{kind}"},
            }
            for kind in KINDS
        ],
        "$defs": definitions,
    }


def schema_files() -> dict[str, str]:
    """Name and text of every committed schema file."""
    schemas = {kind: schema_of(kind) for kind in KINDS} | {ANY_KIND: schema_of_any_kind()}
    return {f"{name}.json": schema_text(schema) for name, schema in schemas.items()}


def schema_text(schema: dict[str, Any]) -> str:
    """A schema as it is written to files and printed."""
    return json.dumps(schema, indent=2) + "\n"


def write_schema_files() -> None:
    """Bring the committed copies up to date."""
    SCHEMA_DIR.mkdir(exist_ok=True)
    for name, text in schema_files().items():
        (SCHEMA_DIR / name).write_text(text)


def tidy(schema: Any) -> Any:
    """Leave out the titles pydantic makes of field names: they say nothing the key does not."""
    match schema:
        case dict():
            is_schema = "type" in schema or "anyOf" in schema or "oneOf" in schema or "const" in schema
            return {
                key: tidy(value)
                for key, value in schema.items()
                if not (key == "title" and is_schema and isinstance(value, str))
            }
        case list():
            return [tidy(each) for each in schema]
        case _:
            return schema


if __name__ == "__main__":
    write_schema_files()
