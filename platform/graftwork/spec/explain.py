"""From pydantic's validation errors to problems a user can act on. No pydantic text gets past this module. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from graftwork.errors import Problem
from graftwork.near_names import did_you_mean
from graftwork.spec.base import (
    DURATION_PATTERN,
    LABEL_VALUE_PATTERN,
    NAME_PATTERN,
    ORIGIN_PATTERN,
    Inconsistency,
    InconsistentError,
)
from graftwork.spec.schema_words import Schema, SchemaGuide
from graftwork.spec.words_elsewhere import meant_by
from graftwork.spec.yaml_text import Document, ValuePath, path_text, shorten

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_MOST_KEYS_SHOWN = 6
_NO_FIX = "Change it to what is expected."


@dataclass(frozen=True, kw_only=True)
class Explainer:
    """Explains what is wrong with one document.

    Attributes:
        document: the document, for lines and for how values were written.
        file: its file.
        guide: the JSON Schema of its kind.
    """

    document: Document
    file: str
    guide: SchemaGuide

    def explain(self, details: ErrorDetails) -> list[Problem]:
        """The problems behind one pydantic error."""
        path, left_over = self.locate(details["loc"])
        match details["type"]:
            case "missing":
                key = str(left_over[0]) if left_over else ""
                return [] if self._is_misspelt(path, key) else [self._missing(path, key)]
            case "extra_forbidden":
                return [self._unknown_key(path)]
            case "value_error":
                error = details.get("ctx", {}).get("error")
                if isinstance(error, InconsistentError):
                    return [self._inconsistent(path, each) for each in error.found]
        return [self._wrong_value(path)]

    def explain_again(self, details: ErrorDetails, *, replaced: frozenset[ValuePath]) -> list[Problem]:
        """The problems behind an error of a repaired copy; none if it comes from the repair.

        Args:
            details: one pydantic error.
            replaced: paths whose values the user did not write.
        """
        path, left_over = self.locate(details["loc"])
        if _touches((*path, *left_over), replaced, below=False):
            return []
        error = details.get("ctx", {}).get("error")
        if not isinstance(error, InconsistentError):
            return self.explain(details)
        return [
            self._inconsistent(path, each)
            for each in error.found
            if not any(_touches((*path, *place), replaced) for place in (each.at, *each.involves) if place)
        ]

    def locate(self, location: tuple[str | int, ...]) -> tuple[ValuePath, ValuePath]:
        """Split pydantic's location into the path that is in the document, and the rest.

        Pydantic's locations also hold tags of alternatives; those are no keys and are left out.
        """
        value: Any = self.document.value
        path: ValuePath = ()
        rest: list[str | int] = []
        for step in location:
            match value, step:
                case dict(), str() if step in value and not rest:
                    value, path = value[step], (*path, step)
                case list(), int() if 0 <= step < len(value) and not rest:
                    value, path = value[step], (*path, step)
                case dict(), str() if step in self.guide.at(path, self.document.value).get("properties", {}):
                    rest.append(step)
        return path, tuple(rest)

    def _is_misspelt(self, parent: ValuePath, key: str) -> bool:
        """Whether the key is there in another spelling (`learning_rate`, `lr`), which is reported as an unknown key."""
        present = _value_at(self.document.value, parent)
        if not isinstance(present, dict):
            return False
        unknown = set(map(str, present)) - set(self.guide.at(parent, self.document.value).get("properties", {}))
        return any(_is_spelling_of(other, key) or meant_by(other, [key]) for other in unknown)

    def _missing(self, parent: ValuePath, key: str) -> Problem:
        schema = self.guide.at((*parent, key), self.document.value)
        what = _first_sentence(schema.get("description", ""))
        return self._problem(
            (*parent, key),
            received="nothing",
            expected=self.guide.describe(schema),
            fix=f"Add `{key}`: {what[0].lower()}{what[1:]}" if what else f"Add `{key}`.",
        )

    def _unknown_key(self, path: ValuePath) -> Problem:
        key = str(path[-1])
        known = list(self.guide.at(path[:-1], self.document.value).get("properties", {}))
        present = _value_at(self.document.value, path[:-1])
        free = [name for name in known if not isinstance(present, dict) or name not in present]
        elsewhere = [place for place in self.guide.places_of(key) if place != "document"]
        if any(_is_spelling_of(key, name) for name in known):
            fix = did_you_mean(key, known) + " Keys are written in camelCase."
        elif (meant := meant_by(key, free)) is not None:
            fix = f"Did you mean `{meant}`?"
        elif elsewhere:
            fix = f"`{key}` belongs in {' or '.join(f'`{place}`' for place in elsewhere[:3])}: move it there."
        else:
            fix = did_you_mean(key, free) or "Remove it."
        expected = f"one of {', '.join(f'`{name}`' for name in known)}" if known else "no keys here"
        return self._problem(path, received=f"the unknown key `{shorten(key)}`", expected=expected, fix=fix)

    def _inconsistent(self, path: ValuePath, each: Inconsistency) -> Problem:
        return self._problem((*path, *each.at), received=each.received, expected=each.expected, fix=each.fix)

    def _wrong_value(self, path: ValuePath) -> Problem:
        value = _value_at(self.document.value, path)
        schema = self.guide.at(path, self.document.value)
        word = self.document.words.get(path)
        received = show(value)
        if isinstance(value, bool) and word is not None and word.lower() not in {"true", "false"}:
            received = f"{received} (YAML reads the word {word} as {received})"
        return self._problem(
            path,
            received=received,
            expected=self.guide.describe(schema),
            fix=self._fix(value, schema, word) or _NO_FIX,
        )

    def _fix(self, value: object, schema: Schema, word: str | None) -> str:
        kind = schema.get("type")
        match value:
            case None:
                return "Give a value, or remove the key."
            case dict() if len(value) < schema.get("minProperties", 0):
                return "Add an entry, or remove the section."
            case bool() if choices := choices_of(schema):
                return "Write `none`." if not value and "none" in choices else _choice_fix(str(word), schema)
            case bool() if kind == "string":
                return f'Put it in quotes: "{word}".'
            case int() | float() if kind == "string" and word is not None and "enum" not in schema:
                fits = re.search(schema.get("pattern", ""), word) is not None
                return f'Put it in quotes: "{word}".' if fits else _name_fix(word, schema)
            case str() if kind in {"integer", "number"} and _is_number(value):
                return f"Remove the quotes: {value.strip()}."
            case str() if kind in {"integer", "number"} and not choices_of(schema):
                return f"Use a {'whole number' if kind == 'integer' else 'number'}."
            case float() if kind == "integer" and value.is_integer():
                return f"Write it as a whole number: {int(value)}."
            case dict() | list() if kind not in {"array", "object"}:
                return f"Write a single value: {self.guide.describe(schema)}."
            case _ if kind == "array" and not isinstance(value, list):
                return "Write it as a list: put it in square brackets, or on a line that begins with `- `."
            case _ if kind == "object" and not isinstance(value, dict):
                return self._mapping_fix(schema)
            case int() | float() if kind in {"integer", "number"}:
                return _bound_fix(value, schema)
            case str():
                return _choice_fix(value, schema) or _name_fix(value, schema)
            case list():
                return _length_fix(value, schema)
            case _:
                return _choice_fix(str(word or value), schema)

    def _mapping_fix(self, schema: Schema) -> str:
        keys = [*schema.get("required", []), *schema.get("properties", {})]
        return f"Write it as a mapping, such as `{keys[0]}: ...` on a line of its own." if keys else "Write a mapping."

    def _problem(self, path: ValuePath, *, received: str, expected: str, fix: str) -> Problem:
        return Problem(
            file=self.file,
            line=self.document.line_of(path),
            where=path_text(path),
            received=received,
            expected=expected,
            fix=fix,
        )


def show(value: object) -> str:
    """A value on one line: text in quotes, the size of a list, the keys of a mapping."""
    match value:
        case None:
            return "nothing (null)"
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(shorten(value), ensure_ascii=False)
        case float() if not math.isfinite(value):
            return f".{value}"
        case int() | float():
            return shorten(f"{value!r}")
        case list():
            return f"a list of {len(value)} {'entry' if len(value) == 1 else 'entries'}"
        case Mapping():
            keys = ", ".join(f"`{shorten(str(key), 30)}`" for key in list(value)[:_MOST_KEYS_SHOWN])
            return f"a mapping with the keys {keys}" if keys else "an empty mapping"
        case _:
            return shorten(repr(value))


def _touches(path: ValuePath, places: frozenset[ValuePath], *, below: bool = True) -> bool:
    """Whether a path is one of some places, lies in one, or (`below`) holds one."""
    return any(path[: len(place)] == place or (below and place[: len(path)] == path) for place in places)


def _value_at(value: Any, path: ValuePath) -> Any:
    for step in path:
        value = value[step]
    return value


def _is_spelling_of(word: str, key: str) -> bool:
    return word != key and word.replace("_", "").replace("-", "").lower() == key.lower()


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.:])\s", " ".join(text.split()), maxsplit=1)[0].rstrip(".:") + "." if text else ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def choices_of(schema: Schema) -> list[str]:
    """The words a schema allows, if it allows certain words only."""
    return [str(each) for option in [schema, *schema.get("anyOf", [])] for each in option.get("enum", [])]


def _choice_fix(word: str, schema: Schema) -> str:
    if "const" in schema:
        return f"Write `{schema['const']}`."
    choices = choices_of(schema)
    if not choices:
        return ""
    return did_you_mean(word, choices) or "Use one of them."


def _name_fix(value: str, schema: Schema) -> str:
    pattern, longest = schema.get("pattern"), schema.get("maxLength") or len(value)
    if pattern is None:
        return "Write some text." if not value else f"Shorten it to {longest} characters."
    if pattern == DURATION_PATTERN:
        return "Write a whole number with s, m or h, such as `30m`."
    if pattern == ORIGIN_PATTERN:
        return _origin_fix(value)
    if pattern == LABEL_VALUE_PATTERN:
        proposal = re.sub(r"[^A-Za-z0-9_.]+", "-", value)[:longest].strip("-_.")
    else:
        proposal = re.sub(r"[^a-z0-9]+", "-", value.lower())[:longest].strip("-")
    if pattern != NAME_PATTERN:
        proposal = proposal.lstrip("0123456789-") if pattern != LABEL_VALUE_PATTERN else proposal
    return f"Use `{proposal}`." if proposal else "Use a word such as `flowers`."


def _origin_fix(value: str) -> str:
    """The origin of what may be a page's address."""
    parts = urlsplit(value if "//" in value else f"https://{value}")
    proposal = f"{parts.scheme}://{parts.netloc}".lower()
    is_address = "." in proposal or ":" in parts.netloc or "//" in value
    return (
        f"Use `{proposal}`."
        if is_address and re.match(ORIGIN_PATTERN, proposal)
        else "Write scheme and host of the page."
    )


def _bound_fix(value: float, schema: Schema) -> str:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    if not math.isfinite(value):
        return "Use an ordinary number."
    if low is not None and value < low:
        return f"Use {low:g} or more."
    if above is not None and value <= above:
        return f"Use a number above {above:g}."
    if high is not None and value > high:
        return f"Use {high:g} or less."
    if below is not None and value >= below:
        return f"Use a number below {below:g}."
    return "Use a whole number." if schema.get("type") == "integer" else ""


def _length_fix(value: list[Any], schema: Schema) -> str:
    low, high = schema.get("minItems", 0), schema.get("maxItems", math.inf)
    if len(value) < low:
        return f"Add {low - len(value)} more."
    return f"Remove {len(value) - high}." if len(value) > high else ""
