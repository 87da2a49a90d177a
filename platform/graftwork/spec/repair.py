"""A wrong document with right values put in place of wrong ones, so that checks across fields can still run. Pure.

The copy is never used for anything but finding further problems.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from graftwork.near_names import near_names
from graftwork.spec.explain import Explainer
from graftwork.spec.schema_words import Schema, SchemaGuide
from graftwork.spec.yaml_text import ValuePath

if TYPE_CHECKING:
    from pydantic import ValidationError


def repaired_copy(error: ValidationError, explainer: Explainer) -> tuple[Any, frozenset[ValuePath]]:
    """Put something valid in place of everything pydantic refused.

    Args:
        error: what pydantic said about the document.
        explainer: knows the document and its schema.

    Returns:
        The copy, and the paths in it that no longer hold what the user wrote.
    """
    original = explainer.document.value
    root: dict[Any, Any] = {None: copy.deepcopy(original)}
    replaced: set[ValuePath] = set()
    for details in error.errors(include_url=False):
        path, left_over = explainer.locate(details["loc"])
        if details["type"] == "extra_forbidden":
            siblings = _holder(root, path)[0]
            if isinstance(siblings, dict):
                siblings.pop(path[-1], None)
            # The key may have been meant for one of these, whose value is then unknown.
            known = explainer.guide.at(path[:-1], original).get("properties", {})
            replaced |= {(*path[:-1], name) for name in near_names(str(path[-1]), known)}
            continue
        if details["type"] == "missing" and left_over:
            path = (*path, left_over[0])
        holder, key = _holder(root, path)
        if isinstance(holder, (dict, list)):
            holder[key] = sample(explainer.guide, explainer.guide.at(path, original), unique=len(replaced))
        replaced.add(path)
    return root[None], frozenset(replaced)


def sample(guide: SchemaGuide, schema: Schema, *, unique: int) -> Any:
    """Some value a schema allows.

    Args:
        guide: resolves references of the schema.
        schema: what to satisfy.
        unique: makes names differ from those of other samples.
    """
    plain = guide.alternatives(schema)[0]
    if "examples" in plain:
        return copy.deepcopy(plain["examples"][0])
    if "const" in plain:
        return plain["const"]
    if "enum" in plain:
        return plain["enum"][0]
    match plain.get("type"):
        case "integer":
            return plain.get("minimum", 1)
        case "number":
            low = plain.get("minimum", plain.get("exclusiveMinimum", 0.0))
            high = plain.get("maximum", plain.get("exclusiveMaximum", low + 1))
            return (low + high) / 2
        case "boolean":
            return False
        case "array":
            item = plain.get("items", {})
            return [sample(guide, item, unique=unique) for _ in range(plain.get("minItems", 0))]
        case "object":
            properties = plain.get("properties", {})
            return {key: sample(guide, properties[key], unique=unique) for key in plain.get("required", [])}
        case _:
            return f"placeholder-{unique}"


def _holder(root: dict[Any, Any], path: ValuePath) -> tuple[Any, Any]:
    """The container and key of a place in the copy; earlier repairs may have removed it."""
    holder: Any = root
    for step in (None, *path)[:-1]:
        try:
            holder = holder[step]
        except (KeyError, IndexError, TypeError):
            return None, None
    return holder, (None, *path)[-1]
