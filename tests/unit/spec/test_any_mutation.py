"""Whatever a user writes, the answer is a valid spec or problems that say where, what, what instead and what to do."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwork.errors import Problem
from graftwork.spec.load import check_text
from tests.unit.spec.examples import ENDPOINT, JOB

# Words of pydantic's and Python's own messages; none may reach a user.
_FOREIGN_WORDS = (
    "Input should",
    "Field required",
    "Extra inputs",
    "Value error",
    "pydantic",
    "validation error",
    "Traceback",
    "Literal[",
    "NoneType",
    "<class",
    "object at 0x",
)

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.integers()
    | st.floats()
    | st.text(max_size=80)
    | st.sampled_from(["none", "all", "auto", "off", "adam", "1e-3", "", "flowers@champion", "accuracy", "../x"])
)
_VALUES = st.recursive(
    _SCALARS,
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=12), children, max_size=3)
    ),
    max_leaves=5,
)


def _paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    match value:
        case dict():
            for key, child in value.items():
                yield from _paths(child, (*path, key))
        case list():
            for index, child in enumerate(value):
                yield from _paths(child, (*path, index))


@st.composite
def _mutated(draw: st.DrawFn) -> Any:
    root: dict[str, Any] = {"": copy.deepcopy(draw(st.sampled_from([JOB, ENDPOINT])))}
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from([("", *path) for path in _paths(root[""])]))
        holder: Any = root
        for step in path[:-1]:
            holder = holder[step]
        match draw(st.sampled_from(["replace", "remove", "rename", "add", "wrap"])):
            case "replace":
                holder[path[-1]] = draw(_VALUES)
            case "remove" if len(path) > 1:
                del holder[path[-1]]
            case "rename" if isinstance(path[-1], str) and len(path) > 1:
                holder[draw(st.text(max_size=10) | st.just(f"{path[-1]}s"))] = holder.pop(path[-1])
            case "add" if isinstance(holder[path[-1]], dict):
                holder[path[-1]][draw(st.text(max_size=10))] = draw(_VALUES)
            case _:
                holder[path[-1]] = [holder[path[-1]]]
    return root[""]


def _check(text: str) -> list[Problem]:
    loaded, problems = check_text(text, file="job.yaml", base_dir=Path())
    assert loaded or problems
    lines = text.count("\n") + 1
    for problem in problems:
        for part in (problem.where, problem.received, problem.expected, problem.fix):
            assert part.strip()
            assert "\n" not in part
        assert problem.file == "job.yaml"
        assert problem.line is None or 1 <= problem.line <= lines
        assert problem.fix[0].isupper() or problem.fix[0] == "`"
        assert problem.fix[-1] in ".?"
        said = f"{problem.expected} {problem.fix}"
        assert not [word for word in _FOREIGN_WORDS if word in said], problem
    assert len(set(problems)) == len(problems)
    return problems


@given(_mutated())
@settings(max_examples=150)
def test_any_mutation_of_a_valid_spec_is_valid_or_explained(content: Any) -> None:
    """Changing, removing, renaming or adding anything gives a spec or well-formed problems, never an exception."""
    _check(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


@given(st.text(alphabet=st.sampled_from("ab: -[]{}&*!|>'\"#%@\n\t~<?,1."), max_size=60))
@settings(max_examples=150)
def test_any_text_is_valid_or_explained(text: str) -> None:
    """Text that is hardly YAML gives well-formed problems, never an exception."""
    assert _check(text)


@given(st.data())
@settings(max_examples=60)
def test_a_damaged_file_is_valid_or_explained(data: st.DataObject) -> None:
    """A valid file with some characters overwritten gives a spec or well-formed problems."""
    text = yaml.safe_dump(JOB, sort_keys=False)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 8)))
    _check(text[:start] + data.draw(st.text(max_size=6)) + text[end:])
