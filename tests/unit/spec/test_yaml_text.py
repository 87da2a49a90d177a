from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwork.errors import Problem
from graftwork.spec.yaml_text import (
    MAX_TEXT_CHARACTERS,
    MAX_VALUES,
    Document,
    parse_documents,
    parsed_path,
    path_text,
)


def read(text: str) -> Document:
    documents, problems = parse_documents(text, "x.yaml")
    assert problems == []
    (document,) = documents
    return document


def the_problem(text: str) -> Problem:
    _, problems = parse_documents(text, "x.yaml")
    assert len(problems) == 1, problems
    return problems[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("1.e2", 100.0),
        (".5", 0.5),
        ("-1_000.5", -1000.5),
        (".inf", float("inf")),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0b11", 3),
        ("017", 15),
        ("0o17", 15),
        ("09", "09"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("off", False),
        ("Yes", True),
        ('"off"', "off"),
        ("~", None),
        ("", None),
        ("!!str 5", "5"),
        ("e3", "e3"),
        ("1.2.3", "1.2.3"),
        ("-", [None]),
    ],
)
def test_plain_words_mean_what_kubectl_reads(text: str, value: Any) -> None:
    """Numbers, booleans and text are told apart as `kubectl` does."""
    received = read(f"key:\n  {text}\n").value["key"]
    assert received == value
    assert type(received) is type(value)


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=20,
)


class _QuotingDumper(yaml.SafeDumper):
    """Puts all text in quotes: the dialects differ in which plain words are numbers."""


_QuotingDumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), _PLAIN, min_size=1, max_size=4))
@settings(max_examples=100)
def test_reads_what_pyyaml_writes(content: dict[str, Any]) -> None:
    """Everything PyYAML writes comes back equal, and every value knows a line."""
    text = yaml.dump(content, Dumper=_QuotingDumper)
    document = read(text)
    assert document.value == content
    assert all(1 <= line <= text.count("\n") + 1 for line in document.lines.values())


def test_lines_count_from_the_start_of_the_file() -> None:
    """Comments, directives and earlier documents count."""
    text = "%YAML 1.1\n---\na: 1\n---\n# c\nb:\n  - x\n  - y: 2\n"
    documents, problems = parse_documents(text, "x.yaml")
    assert problems == []
    assert documents[1].lines == {(): 6, ("b",): 6, ("b", 0): 7, ("b", 1): 8, ("b", 1, "y"): 8}
    assert documents[1].line_of(("b", 1, "missing")) == 8


def test_a_broken_document_does_not_hide_the_others() -> None:
    """Documents before and after one with a syntax error are read."""
    documents, problems = parse_documents("a: 1\n---\nb: [\n---\nc: 3\n", "x.yaml")
    assert [document.value for document in documents] == [{"a": 1}, {"c": 3}]
    assert [problem.line for problem in problems] == [4]


def test_separators_in_text_blocks_are_kubectls() -> None:
    """An indented `---` belongs to the text around it."""
    assert read("a: |\n  ---\n  x\n").value == {"a": "---\nx\n"}


def test_merge_keys_bring_in_what_is_not_written_out() -> None:
    """`<<` works as in YAML 1.1: written keys win, then the first of several mappings."""
    text = "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz:\n  <<: [*x, *y]\n  a: 9\n"
    assert read(text).value["z"] == {"a": 9, "b": 1, "c": 2}


@pytest.mark.parametrize(
    ("text", "line", "received", "fix"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "the key a second time", "Remove one"),
        ("a:\n\tb: 1\n", 2, "`b: 1`", "Replace tabs by spaces"),
        ("a: b: c\n", 1, "`a: b: c`", "put text that contains `: ` in quotes"),
        ("a: 'b\n", 2, "the end of the file", "Close what was opened."),
        ("a: [1, 2\n", 2, "the end of the file", "brackets"),
        ("a: @b\n", 1, "`a: @b`", "in quotes"),
        ("a: *b\n", 1, "`a: *b`", "in quotes"),
        ("a: !!python/name:os.system\n", 1, "the tag", "Remove the tag"),
        ("a: !custom x\n", 1, "the tag `!custom`", "Remove the tag"),
        ("? [a]\n: 1\n", 1, "a list or mapping as a key", "quotes"),
        ("a: \x07\n", 1, "U+0007", "Remove the character."),
        ("a: &a [*a]\n", 1, "more than 50 levels", "Remove the nesting."),
        ("a: " + "[" * 1000, 1, "more than 50 levels", "Remove the nesting."),
        ("a: {<<: 5}\n", 1, '"5"', "anchored mapping"),
        ("x" * (MAX_TEXT_CHARACTERS + 1), None, "characters", "path or URI"),
    ],
)
def test_bad_yaml_is_explained(text: str, line: int | None, received: str, fix: str) -> None:
    """Each mistake gives one problem with its line and a way out."""
    problem = the_problem(text)
    assert problem.line == line
    assert received in problem.received
    assert fix in problem.fix


def test_multiplying_aliases_are_stopped() -> None:
    """A file of a few hundred bytes that stands for billions of values is refused at once."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    assert f"more than {MAX_VALUES:,} values" in the_problem("\n".join(lines)).received


def test_nothing_is_built_from_tags() -> None:
    """Values are plain data only; a date stays text."""
    assert not isinstance(read("a: 2024-01-01").value["a"], dt.date)


def test_paths_are_written_as_in_code() -> None:
    """Odd keys are quoted."""
    assert path_text(("spec", "phases", 1, "learningRate")) == "spec.phases[1].learningRate"
    assert path_text(("metadata", "labels", "a.b/c")) == 'metadata.labels["a.b/c"]'
    assert path_text(()) == "document"


@pytest.mark.parametrize(
    "path",
    [("spec",), ("spec", "phases", 1, "learningRate"), ("metadata", "labels", "a.b/c"), ("spec", "data", "x-y", 0)],
)
def test_a_written_path_is_found_again(path: tuple[str | int, ...]) -> None:
    """What messages call a place leads back to it."""
    assert parsed_path(path_text(path)) == path


@pytest.mark.parametrize("text", ["NAME", "data/a.jpg", "", "spec..data", "flowers@champion", "two words"])
def test_other_places_are_no_paths(text: str) -> None:
    """Names of files and models stand in messages, too."""
    assert parsed_path(text) in {None, (text,)}
