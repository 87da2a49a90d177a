"""Changes values in a YAML text and leaves everything else, comments and layout, as it stands. Pure.

Positions come from PyYAML's nodes, which know where in the text they begin and end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from graftwork.spec.yaml_text import ValuePath

_PLAIN_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
# What YAML 1.1 takes for booleans and for nothing.
_YAML_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_ONE_LINE = 10**6


def set_value(text: str, document: int, path: ValuePath, value: Any) -> str:
    """The text with one value replaced, or added to the mapping it belongs to.

    Args:
        text: one or more YAML documents.
        document: which of them, from 0; empty ones do not count.
        path: keys and positions that lead to the value; what is missing on the way is made.
        value: plain values; written in one line.

    Raises:
        ValueError: a list on the way has no such entry, or the text has no such document.
    """
    # PyYAML's types leave out that an empty document has no node.
    composed: Iterator[yaml.Node | None] = yaml.compose_all(text, Loader=yaml.SafeLoader)
    roots = [node for node in composed if node is not None]
    if document >= len(roots):
        raise ValueError(f"received a text of {len(roots)} documents, expected at least {document + 1}")
    node: yaml.Node = roots[document]
    for depth, step in enumerate(path):
        inner = _child(node, step)
        if inner is None or (depth + 1 < len(path) and isinstance(inner, yaml.ScalarNode)):
            rest = _nested(path[depth + 1 :], value)
            if inner is not None:
                return _replaced(text, inner, rest)
            if not isinstance(node, yaml.MappingNode):
                raise ValueError(f"received the path {path}, expected entries that are there")
            return _added(text, node, str(step), rest)
        node = inner
    return _replaced(text, node, value)


def flow(value: Any) -> str:
    """A value on one line, as people write specs: `{patience: 3}`, `[a, b]`, `1.0e-04`."""
    match value:
        case dict():
            return "{" + ", ".join(f"{flow(key)}: {flow(entry)}" for key, entry in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(flow(entry) for entry in value) + "]"
        case bool() | None:
            return json.dumps(value)
        case float():
            text = f"{value!r}"
            # YAML 1.1 takes an exponent without a point for text.
            return text.replace("e", ".0e") if "e" in text and "." not in text else text
        case str() if _PLAIN_WORD.fullmatch(value) and value.lower() not in _YAML_WORDS:
            return value
        case str():
            return yaml.safe_dump(value, default_style='"', width=_ONE_LINE, allow_unicode=True).rstrip("\n")
        case _:
            return str(value)


def _child(node: yaml.Node, step: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        entry: yaml.Node = node.value[step]
        return entry
    return None


def _nested(path: ValuePath, value: Any) -> Any:
    for step in reversed(path):
        value = {step: value}
    return value


def _replaced(text: str, node: yaml.Node, value: Any) -> str:
    start, end = node.start_mark.index, _end_of(text, node)
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        # A block begins on a line of its own; what takes its place stands behind the key.
        before = text[:start].rstrip()
        return f"{before} {flow(value)}\n{text[end:].lstrip(chr(10))}"
    return text[:start] + flow(value) + text[end:]


def _end_of(text: str, node: yaml.Node) -> int:
    """Where a node's own text ends; a block's mark lies behind blank lines and comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        end = _end_of(text, last[1] if isinstance(last, tuple) else last)
        line_end = text.find("\n", end)
        return len(text) if line_end < 0 else line_end
    return int(node.end_mark.index)


def _added(text: str, mapping: yaml.MappingNode, key: str, value: Any) -> str:
    """A key added at the end of a mapping, in the mapping's own style."""
    entry = f"{flow(key)}: {flow(value)}"
    if mapping.flow_style or not mapping.value:
        end = mapping.end_mark.index - 1
        comma = ", " if mapping.value else ""
        before = text[:end].rstrip()
        return before.removesuffix(",") + comma + entry + text[end:]
    end = _end_of(text, mapping)
    indent = " " * mapping.value[0][0].start_mark.column
    return f"{text[:end]}\n{indent}{entry}{text[end:]}"
