"""From YAML text to plain values that know the line they came from. No file access here, and no knowledge of specs.

The dialect is what `kubectl` reads: YAML 1.1 booleans (`on`, `off`, `yes`, `no`), merge keys, and numbers such as
`1e-3`. Dates and `1:30` stay text. Everything that could run code or blow up (tags, endless aliases) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from graftwork.errors import Problem

MAX_TEXT_CHARACTERS = 256 * 1024
MAX_VALUES = 20_000
MAX_DEPTH = 50

ValuePath = tuple[str | int, ...]

_DOCUMENT_START = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_ONLY_COMMENTS = re.compile(r"(?:\s|^#.*$|^%.*$|^---|^\.\.\.)*", re.MULTILINE)
_PATH = re.compile(r"""[A-Za-z_][\w-]*(\.[\w-]+|\[\d+]|\["[^"]*"])*""")
_STEP = re.compile(r"""\.?([A-Za-z_][\w-]*)|\[(\d+)]|\["([^"]*)"]""")
_TAG = "tag:yaml.org,2002:"
_TRUE = frozenset({"yes", "true", "on"})
_MERGE_KEY = "<<"


@dataclass(frozen=True, kw_only=True)
class Document:
    """One YAML document.

    Attributes:
        value: plain dictionaries, lists, strings, numbers, booleans and None.
        line: 1-based line where it begins.
        lines: 1-based line of every value, by path; a mapping's entry counts from its key.
        words: text of every scalar as it was written, without quotes, by path.
        quoted: paths of scalars that were written in quotes.
    """

    value: Any
    line: int
    lines: dict[ValuePath, int] = field(default_factory=dict)
    words: dict[ValuePath, str] = field(default_factory=dict)
    quoted: set[ValuePath] = field(default_factory=set)

    def line_of(self, path: ValuePath) -> int:
        """Line of a value, or of the nearest value around it that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, self.line)


def parse_documents(text: str, file: str) -> tuple[list[Document], list[Problem]]:
    """Read all documents of a text.

    Args:
        text: the YAML text.
        file: its name, for problems.

    Returns:
        The documents that could be read, empty ones left out, and what is wrong with the others.
    """
    if len(text) > MAX_TEXT_CHARACTERS:
        return [], [
            Problem(
                file=file,
                where="file",
                received=f"{len(text):,} characters",
                expected=f"at most {MAX_TEXT_CHARACTERS:,}",
                fix="Name data by a path or URI rather than writing it into the spec.",
            )
        ]
    documents: list[Document] = []
    problems: list[Problem] = []
    for piece, lines_before in _pieces(text):
        reader = _Reader(file, lines_before)
        document = reader.read(piece)
        problems += reader.problems
        if document is not None:
            documents.append(document)
    return documents, problems


def path_text(path: ValuePath) -> str:
    """A path as it is written in messages: `spec.phases[1].learningRate`, `metadata.labels["a.b/c"]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif re.fullmatch(r"[\w-]+", step):
            text += f".{step}" if text else step
        else:
            text += f'["{shorten(step)}"]'
    return text or "document"


def parsed_path(text: str) -> ValuePath | None:
    """The path that `path_text` wrote; None where the text is no such thing."""
    if not _PATH.fullmatch(text):
        return None
    return tuple(int(index) if index else quoted or name for name, index, quoted in _STEP.findall(text))


def shorten(text: str, limit: int = 60) -> str:
    """A text on one line, cut to a length."""
    line = "".join(character if character.isprintable() else "�" for character in " ".join(text.split()))
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def _pieces(text: str) -> Iterator[tuple[str, int]]:
    """The documents' texts with the number of lines before each; a broken one does not hide the others."""
    starts = [match.start() for match in _DOCUMENT_START.finditer(text)]
    # What stands before the first `---` is a document of its own, unless it is comments and directives only.
    if not starts or not _ONLY_COMMENTS.fullmatch(text[: starts[0]]):
        starts.insert(0, 0)
    else:
        starts[0] = 0
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        piece = text[start:end]
        if not _ONLY_COMMENTS.fullmatch(piece):
            yield piece, text.count("\n", 0, start)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with kubectl's idea of which plain words are numbers."""


_Loader.yaml_implicit_resolvers = {
    character: [
        (tag, pattern) for tag, pattern in resolvers if tag.removeprefix(_TAG) not in {"float", "int", "timestamp"}
    ]
    for character, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    f"{_TAG}int",
    re.compile(r"[-+]?(?:0[bB][01_]+|0[oO]?[0-7_]+|0[xX][0-9a-fA-F_]+|0|[1-9][0-9_]*)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    f"{_TAG}float",
    re.compile(
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$"
    ),
    list("-+.0123456789"),
)


class _RefusedError(Exception):
    """The rest of the document is not worth reading."""


class _Reader:
    """Reads one document and gathers what is wrong with it."""

    def __init__(self, file: str, lines_before: int) -> None:
        self._file = file
        self._lines_before = lines_before
        self._values = 0
        self.problems: list[Problem] = []

    def read(self, text: str) -> Document | None:
        try:
            node = yaml.compose(text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            self._syntax_problem(error, text)
            return None
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            self._problem(
                line + self._lines_before,
                (),
                received=f"the character U+{int(error.character):04X}",
                expected="printable text",
                fix="Remove the character.",
            )
            return None
        except RecursionError:
            self._too_deep(self._lines_before + 1, ())
            return None
        if node is None:
            return None
        document = Document(value=None, line=self._line(node))
        try:
            value = self._convert(node, (), document)
        except _RefusedError:
            return None
        return Document(
            value=value, line=document.line, lines=document.lines, words=document.words, quoted=document.quoted
        )

    def _convert(self, node: yaml.Node, path: ValuePath, document: Document) -> Any:
        self._values += 1
        if self._values > MAX_VALUES:
            self._problem(
                self._line(node),
                path,
                received=f"more than {MAX_VALUES:,} values (aliases count each time they are used)",
                expected="a spec of a reasonable size",
                fix="Write fewer values; use a manifest file for data.",
            )
            raise _RefusedError
        if len(path) > MAX_DEPTH:
            self._too_deep(self._line(node), path)
            raise _RefusedError
        document.lines.setdefault(path, self._line(node))
        match node:
            case yaml.MappingNode() if node.tag == f"{_TAG}map":
                return self._mapping(node, path, document)
            case yaml.SequenceNode() if node.tag == f"{_TAG}seq":
                return [self._convert(child, (*path, index), document) for index, child in enumerate(node.value)]
            case yaml.ScalarNode():
                return self._scalar(node, path, document)
        self._unknown_tag(node, path)
        return None

    def _mapping(self, node: yaml.MappingNode, path: ValuePath, document: Document) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: dict[str, yaml.Node] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(
                    self._line(key_node),
                    path,
                    received="a list or mapping as a key",
                    expected="a word as a key",
                    fix="Put quotes around text that begins with `[`, `{` or `?`.",
                )
                continue
            key = str(key_node.value)
            if key == _MERGE_KEY and key_node.style is None:
                self._gather_merge(value_node, path, merged, depth=0)
                continue
            if key in result:
                self._problem(
                    self._line(key_node),
                    (*path, key),
                    received="the key a second time",
                    expected=f"each key once (it stands in line {document.lines[*path, key]} too)",
                    fix="Remove one of them.",
                )
                continue
            document.lines[*path, key] = self._line(key_node)
            result[key] = self._convert(value_node, (*path, key), document)
        for key, value_node in merged.items():
            if key not in result:
                result[key] = self._convert(value_node, (*path, key), document)
        return result

    def _gather_merge(self, node: yaml.Node, path: ValuePath, merged: dict[str, yaml.Node], depth: int) -> None:
        """Collect what `<<` brings in; the first one wins, and keys written out win over all of them."""
        if depth > MAX_DEPTH:
            self._too_deep(self._line(node), path)
            raise _RefusedError
        match node:
            case yaml.MappingNode():
                for key_node, value_node in node.value:
                    if key_node.value == _MERGE_KEY:
                        self._gather_merge(value_node, path, merged, depth + 1)
                    else:
                        merged.setdefault(str(key_node.value), value_node)
            case yaml.SequenceNode():
                for child in node.value:
                    self._gather_merge(child, path, merged, depth + 1)
            case _:
                self._problem(
                    self._line(node),
                    (*path, _MERGE_KEY),
                    received=f'"{shorten(str(node.value))}"',
                    expected="a mapping to merge, such as `*defaults`",
                    fix="Name an anchored mapping, or remove the line.",
                )

    def _scalar(self, node: yaml.ScalarNode, path: ValuePath, document: Document) -> str | int | float | bool | None:
        text = str(node.value)
        document.words[path] = text
        if node.style is not None:
            document.quoted.add(path)
        try:
            match node.tag.removeprefix(_TAG):
                case "str":
                    return text
                case "null":
                    return None
                case "bool":
                    return text.lower() in _TRUE
                case "int":
                    return _integer(text)
                case "float":
                    return _float(text)
        except ValueError:
            return text
        self._unknown_tag(node, path)
        return None

    def _unknown_tag(self, node: yaml.Node, path: ValuePath) -> None:
        self._problem(
            self._line(node),
            path,
            received=f"the tag `{shorten(node.tag.replace(_TAG, '!!'))}`",
            expected="plain text, numbers, true or false, lists and mappings",
            fix="Remove the tag, or put the value in quotes.",
        )

    def _too_deep(self, line: int, path: ValuePath) -> None:
        self._problem(
            line,
            path[:4],
            received=f"more than {MAX_DEPTH} levels (an alias may contain itself)",
            expected="a spec of a reasonable depth",
            fix="Remove the nesting.",
        )

    def _syntax_problem(self, error: yaml.MarkedYAMLError, text: str) -> None:
        mark = error.problem_mark or error.context_mark
        line = (mark.line if mark else 0) + 1
        source = text.splitlines()
        shown = source[line - 1].strip() if line <= len(source) else "the end of the file"
        reason = error.problem or "YAML that cannot be read"
        expected, fix = _syntax_advice(reason)
        self._problem(
            line + self._lines_before,
            (),
            received=f"`{shorten(shown)}` ({shorten(reason, 90)})",
            expected=expected,
            fix=fix,
        )

    def _problem(self, line: int, path: ValuePath, *, received: str, expected: str, fix: str) -> None:
        self.problems.append(
            Problem(file=self._file, line=line, where=path_text(path), received=received, expected=expected, fix=fix)
        )

    def _line(self, node: yaml.Node) -> int:
        return int(node.start_mark.line) + 1 + self._lines_before


def _integer(text: str) -> int:
    plain = text.replace("_", "").lower()
    sign = -1 if plain.startswith("-") else 1
    digits = plain.lstrip("+-")
    for prefix, base in (("0b", 2), ("0x", 16), ("0o", 8)):
        if digits.startswith(prefix):
            return sign * int(digits[2:], base)
    return sign * int(digits, 8 if len(digits) > 1 and digits.startswith("0") else 10)


def _float(text: str) -> float:
    plain = text.replace("_", "").lower()
    if plain.lstrip("+-") in {".inf", ".nan"}:
        return float(plain.replace(".", ""))
    return float(plain)


def _syntax_advice(reason: str) -> tuple[str, str]:
    """What is expected instead, and what to do, for what PyYAML reports."""
    if "'\\t'" in reason:
        return "spaces", "Replace tabs by spaces: YAML allows no tabs in indentation."
    if "undefined alias" in reason:
        return "an anchor (`&name`) before its alias (`*name`)", "Put text that begins with `*` in quotes."
    if "mapping values are not allowed" in reason:
        return (
            "`key: value`, with keys of one mapping in one column",
            "Check the indentation, and put text that contains `: ` in quotes.",
        )
    if "could not find expected ':'" in reason:
        return "`key: value`", "Add the colon and a space after the key."
    if "cannot start any token" in reason:
        return "a value", "Put text that begins with `@`, `%` or a backtick in quotes."
    if "end of stream" in reason or "end of the stream" in reason or "quoted scalar" in reason:
        return "the closing quote or bracket", "Close what was opened."
    return "YAML", "Check the indentation, brackets and quotes of this line and the one before."
