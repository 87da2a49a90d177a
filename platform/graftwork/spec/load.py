"""From spec files to validated objects, or to a list of everything that is wrong with them.

The only module of this package that reads files. Everything that loads a spec comes through here.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from graftwork.errors import Problem, SpecError
from graftwork.near_names import did_you_mean
from graftwork.spec.explain import Explainer, show
from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork.spec.inference_endpoint import InferenceEndpoint
from graftwork.spec.repair import repaired_copy
from graftwork.spec.schema_words import SchemaGuide, one_of
from graftwork.spec.yaml_text import Document, ValuePath, parse_documents, parsed_path

Spec = FineTuneJob | InferenceEndpoint
_Kind = TypeVar("_Kind", FineTuneJob, InferenceEndpoint)

_COMMANDS = {"FineTuneJob": "graft run", "InferenceEndpoint": "graft serve"}
KINDS: dict[str, type[FineTuneJob | InferenceEndpoint]] = {
    "FineTuneJob": FineTuneJob,
    "InferenceEndpoint": InferenceEndpoint,
}
STDIN = "-"
_STDIN_NAME = "<stdin>"
# Models are nested less deep than this, and each round mends one level at least.
_REPAIR_ROUNDS = 8
_YAML_ENDINGS = frozenset({".yaml", ".yml", ".json"})


@dataclass(frozen=True, kw_only=True)
class LoadedSpec:
    """One object of a spec file.

    Attributes:
        object: the validated object.
        file: the file as it was named; `<stdin>` for standard input.
        base_dir: folder at which relative paths in the object start.
        document: position among the file's documents, from 0.
        line: line of the file where the document begins.
        raw: the document as it was written.
        lines: the lines of its values.
    """

    object: Spec
    file: str
    base_dir: Path
    document: int
    line: int
    raw: dict[str, Any]
    lines: Document

    def placed(self, problem: Problem) -> Problem:
        """A problem with the object, found later, with file and line where its place is a path of the file."""
        path = parsed_path(problem.where)
        is_ours = problem.file in {None, self.file} and problem.line is None
        if not is_ours or path is None or path[0] not in self.raw:
            return problem
        return replace(problem, file=self.file, line=self.lines.line_of(path))


@contextmanager
def problems_placed(source: LoadedSpec) -> Iterator[None]:
    """Give file and line to the problems of a `SpecError` in the block.

    Raises:
        SpecError: as in the block, with the places.
    """
    try:
        yield
    except SpecError as error:
        raise SpecError([source.placed(problem) for problem in error.problems]) from error


def load_specs(paths: Sequence[Path | str]) -> list[LoadedSpec]:
    """Load all objects of some files.

    Args:
        paths: YAML or JSON files, each with one or more documents; `-` is standard input.

    Raises:
        SpecError: a file cannot be read or an object is wrong; holds all problems of all files.
    """
    loaded, problems = check_specs(paths)
    if problems:
        raise SpecError(problems)
    return loaded


def load_only(path: Path | str, model: type[_Kind]) -> tuple[_Kind, LoadedSpec]:
    """Load the one object of a kind that a file holds; objects of other kinds may stand beside it.

    Args:
        path: YAML or JSON file; `-` is standard input.
        model: `FineTuneJob` or `InferenceEndpoint`.

    Returns:
        The object, and the place it came from.

    Raises:
        SpecError: the file is wrong, or does not hold exactly one object of the kind.
    """
    loaded = load_specs([path])
    found = [(spec.object, spec) for spec in loaded if isinstance(spec.object, model)]
    if len(found) != 1:
        kind = model.__name__
        fix = f"Put each {kind} into a file of its own."
        if not found:
            others = [f"`{_COMMANDS[spec.object.kind]}` takes the {spec.object.kind} that is there" for spec in loaded]
            fix = f"Name a file with one{'; ' + others[0] if others else ''}."
        raise SpecError(
            Problem(
                file=_STDIN_NAME if str(path) == STDIN else str(path),
                where="kind",
                received=f"{len(found)} objects of kind {kind}",
                expected="exactly one",
                fix=fix,
            )
        )
    return found[0]


def check_specs(paths: Sequence[Path | str]) -> tuple[list[LoadedSpec], list[Problem]]:
    """Load what can be loaded, and list what is wrong with the rest."""
    loaded: list[LoadedSpec] = []
    problems: list[Problem] = []
    for path in paths:
        text, file, base_dir, problem = _read(path)
        if problem is not None:
            problems.append(problem)
            continue
        found, wrong = check_text(text, file=file, base_dir=base_dir)
        loaded += found
        problems += wrong
    return loaded, problems


def check_text(text: str, *, file: str, base_dir: Path) -> tuple[list[LoadedSpec], list[Problem]]:
    """As `check_specs`, for a text that was read already."""
    documents, problems = parse_documents(text, file)
    if not documents and not problems:
        problems = [
            Problem(
                file=file,
                where="file",
                received="no document" if text.strip() else "an empty file",
                expected=f"a {' or '.join(KINDS)}",
                fix="Write one; jobs/specs and serving/specs hold examples.",
            )
        ]
    starts = [document.line for document in documents]
    # Documents with a key twice, say: the one that counts may not be the one that was meant.
    unclear = {bisect_right(starts, problem.line or 0) - 1 for problem in problems}
    loaded: list[LoadedSpec] = []
    for index, document in enumerate(documents):
        value, wrong = _check_document(document, file)
        problems += wrong
        if value is not None and index not in unclear:
            loaded.append(
                LoadedSpec(
                    object=value,
                    file=file,
                    base_dir=base_dir,
                    document=index,
                    line=document.line,
                    raw=document.value,
                    lines=document,
                )
            )
    problems += _names_twice(loaded)
    return loaded, sorted(problems, key=lambda problem: problem.line or 0)


@cache
def guide_of(kind: str) -> SchemaGuide:
    """The JSON Schema of a kind, ready for questions."""
    return SchemaGuide(KINDS[kind].model_json_schema(by_alias=True))


def _read(path: Path | str) -> tuple[str, str, Path, Problem | None]:
    """Text, name and folder of a file, or what is wrong with it."""
    is_stdin = str(path) == STDIN
    file = _STDIN_NAME if is_stdin else str(path)
    base_dir = Path.cwd() if is_stdin else Path(path).absolute().parent
    try:
        data = sys.stdin.buffer.read() if is_stdin else Path(path).read_bytes()
        return data.decode("utf-8-sig"), file, base_dir, None
    except FileNotFoundError:
        received, expected, fix = "no such file", "a YAML file", _missing_file_fix(Path(path))
    except IsADirectoryError:
        received, expected, fix = "a folder", "a YAML file", f"Name the files in it, such as {file}/*.yaml."
    except UnicodeDecodeError as error:
        received = f"the byte 0x{error.object[error.start]:02x} at position {error.start}"
        expected, fix = "text in UTF-8", "Save the file as UTF-8."
    except OSError as error:
        received, expected = error.strerror or str(error), "a file that can be read"
        fix = "Check the path and its permissions."
    return "", file, base_dir, Problem(file=file, where="file", received=received, expected=expected, fix=fix)


def _missing_file_fix(path: Path) -> str:
    try:
        neighbours = [each.name for each in path.parent.iterdir() if each.suffix in _YAML_ENDINGS]
    except OSError:
        return f"There is no folder {path.parent} either; check the path."
    return did_you_mean(path.name, neighbours) or "Check the path."


def _check_document(document: Document, file: str) -> tuple[Spec | None, list[Problem]]:
    raw = document.value
    if not isinstance(raw, dict):
        return None, [
            Problem(
                file=file,
                line=document.line,
                where="document",
                received=show(raw),
                expected="a mapping with `apiVersion`, `kind`, `metadata` and `spec`",
                fix="Begin with `apiVersion: graftwork.dev/v1alpha1`.",
            )
        ]
    kind = raw.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        return None, [_unknown_kind(document, file)]
    explainer = Explainer(document=document, file=file, guide=guide_of(kind))
    model = KINDS[kind]
    try:
        return _validate(model, raw), []
    except ValidationError as error:
        problems = [problem for details in error.errors() for problem in explainer.explain(details)]
        problems += _hidden_problems(model, error, explainer)
    return None, _without_repetition(problems)


def _validate(model: type[Spec], raw: Any) -> Spec:
    # Strict: text is no number. By alias only: camelCase is the one spelling a cluster accepts.
    return model.model_validate(raw, strict=True, by_alias=True, by_name=False)


def _hidden_problems(model: type[Spec], error: ValidationError, explainer: Explainer) -> list[Problem]:
    """What cross-field checks would have said, had the single fields been right.

    Pydantic runs them on models without errors only. Wrong values are replaced by right ones and the object is checked
    again, from the inside out; what then is said about a replaced value is left out.
    """
    found: list[Problem] = []
    replaced: frozenset[ValuePath] = frozenset()
    for _ in range(_REPAIR_ROUNDS):
        copy, now_replaced = repaired_copy(error, explainer)
        replaced |= now_replaced
        explainer = replace(explainer, document=replace(explainer.document, value=copy))
        try:
            _validate(model, copy)
        except ValidationError as again:
            error = again
        else:
            break
        found += [each for details in error.errors() for each in explainer.explain_again(details, replaced=replaced)]
    return found


def _unknown_kind(document: Document, file: str) -> Problem:
    kind = document.value.get("kind")
    fix = (
        did_you_mean(str(kind), KINDS) if kind is not None else "Add `kind: FineTuneJob` or `kind: InferenceEndpoint`."
    )
    return Problem(
        file=file,
        line=document.line_of(("kind",)),
        where="kind",
        received=show(kind) if kind is not None else "nothing",
        expected=one_of(list(KINDS)),
        fix=fix or "Use one of them; Graftwork reads no other kinds.",
    )


def _names_twice(loaded: Sequence[LoadedSpec]) -> list[Problem]:
    first: dict[tuple[str, str], LoadedSpec] = {}
    problems: list[Problem] = []
    for spec in loaded:
        name = spec.object.metadata.name
        earlier = first.setdefault((spec.object.kind, name), spec)
        if earlier is not spec:
            problems.append(
                Problem(
                    file=spec.file,
                    line=spec.line,
                    where="metadata.name",
                    received=f"`{name}`, which the {spec.object.kind} in line {earlier.line} has",
                    expected="a name of its own for each object of a kind",
                    fix="Give one of them another name.",
                )
            )
    return problems


def _without_repetition(problems: Sequence[Problem]) -> list[Problem]:
    return list(dict.fromkeys(problems))
