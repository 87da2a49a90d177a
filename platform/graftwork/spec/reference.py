"""The fields of the spec files for people: sections in words, and reference pages in Markdown. Made from the models.

`python -m graftwork.spec.reference` writes the committed pages in `docs/reference/`; a test compares them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graftwork.spec.load import guide_of
from graftwork.spec.schema_words import Schema, SchemaGuide

PAGES = {"FineTuneJob": "fine-tune-job.md", "InferenceEndpoint": "inference-endpoint.md"}
"""Page of each kind."""
_FOLDER = Path(__file__).resolve().parents[3] / "docs" / "reference"


@dataclass(frozen=True, kw_only=True)
class FieldWords:
    """One field in words.

    Attributes:
        key: as it is written.
        type: what it takes.
        default: as it would be written; empty where the field is required or may be left out.
        required: whether it must be given.
        meaning: what it does.
        section: path of its own section, if it has one.
    """

    key: str
    type: str
    default: str
    required: bool
    meaning: str
    section: str | None


@dataclass(frozen=True, kw_only=True)
class Section:
    """One mapping of the spec.

    Attributes:
        path: such as `spec.phases[]`.
        meaning: what it is.
        example: one value, if the model gives one.
        fields: what may stand in it.
    """

    path: str
    meaning: str
    example: Any
    fields: tuple[FieldWords, ...]


def sections_of(kind: str) -> tuple[Section, ...]:
    """All sections of a kind below `spec`, each before the ones inside it."""
    guide = guide_of(kind)
    spec = guide.root["properties"]["spec"]
    return tuple(_sections(guide, spec, "spec"))


def reference_pages() -> dict[str, str]:
    """Name and text of every page."""
    return {name: _page(kind) for kind, name in PAGES.items()}


def write_reference_pages(folder: Path) -> None:
    """Bring the pages in a folder up to date."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in reference_pages().items():
        (folder / name).write_text(text)


def _sections(guide: SchemaGuide, schema: Schema, path: str, said: str = "") -> Iterator[Section]:
    """The mappings that a schema allows at a path, with all below them.

    Args:
        guide: knows the references.
        schema: of the path.
        path: where.
        said: what the field above says of it.
    """
    for found in _mappings(guide, schema):
        required = found.get("required", ())
        inner: list[Section] = []
        fields = []
        for key, field in found["properties"].items():
            place = f"{path}.{key}{_list_mark(guide, field)}"
            below = list(_sections(guide, _entries(guide, field), place, field.get("description", "")))
            inner += below
            fields.append(_field(guide, key, field, is_required=key in required, section=below[0] if below else None))
        example = next(iter(found.get("examples", ())), None)
        meaning = " ".join(dict.fromkeys(words for words in (said, found.get("description", "")) if words))
        yield Section(path=path, meaning=meaning, example=example, fields=tuple(fields))
        yield from inner


def _mappings(guide: SchemaGuide, schema: Schema) -> list[Schema]:
    return [each for each in guide.alternatives(schema) if each.get("properties")]


def _entries(guide: SchemaGuide, schema: Schema) -> Schema:
    """What stands in a list; the schema itself where there is no list."""
    lists = [each for each in guide.alternatives(schema) if each.get("type") == "array"]
    return lists[0].get("items", {}) if lists else schema


def _list_mark(guide: SchemaGuide, schema: Schema) -> str:
    return "[]" if _entries(guide, schema) is not schema else ""


def _field(guide: SchemaGuide, key: str, schema: Schema, *, is_required: bool, section: Section | None) -> FieldWords:
    default = schema.get("default")
    is_shown = default not in (None, [], {}) and not (section is not None and isinstance(default, dict))
    return FieldWords(
        key=key,
        type=_type_words(guide, schema),
        default=_yaml(default) if is_shown else "",
        required=is_required,
        meaning=schema.get("description") or (section.meaning if section is not None else ""),
        section=section.path if section is not None else None,
    )


def _type_words(guide: SchemaGuide, schema: Schema) -> str:
    words = []
    for each in guide.alternatives(schema):
        if each.get("properties"):
            words.append("a section")
        elif each.get("type") == "array" and _mappings(guide, each.get("items", {})):
            words.append("a list of sections")
        else:
            words.append(guide.describe(each))
    return ", or ".join(dict.fromkeys(words))


def _yaml(value: Any) -> str:
    """A value in flow style; JSON is YAML, but words need no quotes."""
    return value if isinstance(value, str) else json.dumps(value)


def _page(kind: str) -> str:
    sections = sections_of(kind)
    head = [
        f"# {kind}",
        "",
        guide_of(kind).root.get("description", ""),
        "",
        f"The same in a terminal: `graft explain {kind}`, `graft explain {kind}.{sections[1].path}`.",
        "",
        *(f"- [`{each.path}`](#{_anchor(each.path)})" for each in sections),
        "",
    ]
    return "\n".join([*head, *(line for each in sections for line in _section_lines(each))]).rstrip() + "\n"


def _section_lines(section: Section) -> Iterator[str]:
    yield f'<a id="{_anchor(section.path)}"></a>'
    yield ""
    yield f"## `{section.path}`"
    yield ""
    yield section.meaning
    yield ""
    if section.example is not None:
        yield f"Example: `{json.dumps(section.example)}`"
        yield ""
    yield "| field | takes | default | meaning |"
    yield "|---|---|---|---|"
    for field in section.fields:
        key = f"`{field.key}`" if field.section is None else f"[`{field.key}`](#{_anchor(field.section)})"
        default = "**required**" if field.required else f"`{field.default}`" if field.default else ""
        yield f"| {key} | {_cell(field.type)} | {_cell(default)} | {_cell(field.meaning)} |"
    yield ""


def _anchor(path: str) -> str:
    return path.replace("[]", "").replace(".", "-").lower()


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    write_reference_pages(_FOLDER)
