"""What a JSON Schema allows, said in words; and where in a schema a path leads. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graftwork.spec.base import PATTERN_WORDS

Schema = Mapping[str, Any]

_MOST_KEYS_NAMED = 25


@dataclass(frozen=True)
class SchemaGuide:
    """A JSON Schema with `$defs`, and questions to it.

    Attributes:
        root: the schema of a whole object.
    """

    root: Schema

    def at(self, path: tuple[str | int, ...], value: object) -> Schema:
        """The schema of the place a path leads to, references resolved; empty if the schema knows no such place.

        Args:
            path: camelCase keys and list positions.
            value: the whole object; where the schema has alternatives, the values on the way choose.
        """
        schema = self._choose(self.root, value)
        for step in path:
            if isinstance(step, int):
                schema = schema.get("items", {})
            else:
                extra = schema.get("additionalProperties")
                schema = schema.get("properties", {}).get(step, extra if isinstance(extra, Mapping) else {})
            value = _child(value, step)
            schema = self._choose(schema, value)
        return schema

    def describe(self, schema: Schema) -> str:
        """What a schema allows, as a phrase that follows the word "expected"."""
        alternatives = self.alternatives(schema)
        if len(alternatives) > 1:
            return ", or ".join(self.describe(each) for each in alternatives)
        plain = alternatives[0] if alternatives else {}
        if "const" in plain:
            return f"`{plain['const']}`"
        if "enum" in plain:
            return one_of(plain["enum"])
        match plain.get("type"):
            case "integer":
                return f"a whole number{_bounds(plain)}"
            case "number":
                return f"a number{_bounds(plain)}"
            case "boolean":
                return "true or false"
            case "string":
                return _text_words(plain)
            case "array":
                return self._list_words(plain)
            case "object":
                return self._mapping_words(plain)
            case _:
                return "a value"

    def places_of(self, key: str) -> list[str]:
        """Dotted paths of all sections that have a key of this name."""
        return [section for section, keys in self._sections(self.root, "", 0) if key in keys]

    def alternatives(self, schema: Schema) -> list[Schema]:
        """The schemas one of which must hold, references resolved; `null` is left out."""
        schema = self._resolve(schema)
        options = schema.get("anyOf") or schema.get("oneOf")
        if options is None:
            return [schema]
        return [found for option in options for found in self.alternatives(option) if found.get("type") != "null"]

    def _choose(self, schema: Schema, value: object) -> Schema:
        """The alternative a value was meant for: the one of its own shape, else all of them."""
        alternatives = self.alternatives(schema)
        if len(alternatives) == 1:
            return alternatives[0]
        shape = "object" if isinstance(value, dict) else "array" if isinstance(value, list) else None
        fitting = [each for each in alternatives if shape is not None and each.get("type") == shape]
        return fitting[0] if fitting else {"anyOf": alternatives}

    def _resolve(self, schema: Schema) -> Schema:
        reference = schema.get("$ref")
        if reference is None:
            return schema
        target = self.root["$defs"][reference.rpartition("/")[2]]
        return self._resolve({**target, **{key: value for key, value in schema.items() if key != "$ref"}})

    def _list_words(self, schema: Schema) -> str:
        low, high = schema.get("minItems"), schema.get("maxItems")
        entries = self.describe(schema.get("items", {}))
        if low is not None and low == high:
            return f"a list of {low} entries, each {entries}"
        if low:
            return f"a list with at least {low} {'entry' if low == 1 else 'entries'}, each {entries}"
        return f"a list, each entry {entries}"

    def _mapping_words(self, schema: Schema) -> str:
        keys = list(schema.get("properties", {}))
        if not keys:
            values = schema.get("additionalProperties")
            return f"a mapping of names to {self.describe(values)}" if isinstance(values, Mapping) else "a mapping"
        return f"a mapping with keys out of {', '.join(f'`{key}`' for key in keys[:_MOST_KEYS_NAMED])}"

    def _sections(self, schema: Schema, path: str, depth: int) -> Iterator[tuple[str, frozenset[str]]]:
        for plain in self.alternatives(schema):
            properties = plain.get("properties", {})
            if properties:
                yield path or "document", frozenset(properties)
            for key, child in properties.items():
                yield from self._sections(child, f"{path}.{key}" if path else key, depth + 1)
            if "items" in plain:
                yield from self._sections(plain["items"], f"{path}[]", depth + 1)


def one_of(choices: list[Any]) -> str:
    """Choices in words: "`a`, `b` or `c`"."""
    named = [f"`{choice}`" for choice in choices]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} or {named[-1]}"


def _child(value: object, step: str | int) -> object:
    match value, step:
        case dict(), str():
            return value.get(step)
        case list(), int() if step < len(value):
            return value[step]
        case _:
            return None


def _bounds(schema: Schema) -> str:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    if schema.get("type") == "integer" and below is not None:
        high, below = below - 1, None
    if low is not None and high is not None:
        return f" from {_number(low)} to {_number(high)}"
    lower = f">= {_number(low)}" if low is not None else f"> {_number(above)}" if above is not None else ""
    upper = f"<= {_number(high)}" if high is not None else f"< {_number(below)}" if below is not None else ""
    both = " and ".join(bound for bound in (lower, upper) if bound)
    return f" {both}" if both else ""


def _number(value: float) -> str:
    return f"{int(value)}" if math.isfinite(value) and value == int(value) else f"{value:g}"


def _text_words(schema: Schema) -> str:
    pattern = schema.get("pattern")
    low, high = schema.get("minLength", 0), schema.get("maxLength")
    words = "text" if pattern is None else PATTERN_WORDS.get(pattern, f"text that matches {pattern}")
    if low == 1 and pattern is None:
        words = "text that is not empty"
    return f"{words}, of at most {high} characters" if high is not None else words
