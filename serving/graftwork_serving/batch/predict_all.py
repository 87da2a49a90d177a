"""From a model and data to a table of answers, without an endpoint."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.data_files.fetch import absolute_uri, is_remote
from graftwork.data_files.kinds import table_kind
from graftwork.data_files.table_writer import writing_table
from graftwork.errors import PermanentError, Problem, SpecError
from graftwork.preprocess.image import DEFAULT_MAX_PIXELS
from graftwork_serving.batch.answering import answers_to
from graftwork_serving.batch.examples import list_examples
from graftwork_serving.batch.kept_answers import KeptAnswer, KeptAnswers, kept_answers
from graftwork_serving.engine import EngineOptions
from graftwork_serving.resolve import resolve_reference
from graftwork_serving.served_model import load_model

if TYPE_CHECKING:
    from graftwork.data_files.table_writer import ColumnKind
    from graftwork.progress import Reporter
    from graftwork.settings import Settings
    from graftwork_serving.batch.examples import BatchExample, Examples
    from graftwork_serving.served_model import ServedModel

ERROR_COLUMN = "error"
_MAX_BATCH_SIZE = 64
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class BatchRequest:
    """What to answer, and where to.

    Attributes:
        model: `NAME@ALIAS` or `NAME/VERSION` in the registry, or the path of a bundle directory.
        data: path or URI of a folder of pictures, of one picture, or of a table.
        result: path of the table to write; ends in .csv, .jsonl or .parquet.
        column: of a table: the one with the texts, or with the pictures' paths; None for `text` or `path`.
        with_scores: whether the score of every label is written, too.
        overwrite: whether a file of the result's name is replaced.
        restart: whether the answers of a try that was cut off are dropped, rather than gone on from.
        base_dir: folder that relative paths start at.
    """

    model: str
    data: str
    result: str
    column: str | None = None
    with_scores: bool = False
    overwrite: bool = False
    restart: bool = False
    base_dir: Path = field(default_factory=Path.cwd)


@dataclass(frozen=True, kw_only=True)
class BatchOutcome:
    """What came of it; plain values only.

    Attributes:
        result: the table.
        model: who answered.
        version: which version of it.
        examples: how many there were.
        failed: how many could not be used; their rows say why.
        seconds: from the first example to the last.
        counts: how often each label was answered; empty where answers are numbers.
    """

    result: str
    model: str
    version: str
    examples: int
    failed: int
    seconds: float
    counts: dict[str, int]


def predict_all(request: BatchRequest, *, settings: Settings, reporter: Reporter) -> BatchOutcome:
    """Answer every example of a folder or table.

    An example that cannot be used has its reason in the column `error` and takes no other with it. Cut off, the same
    request goes on after the answers that there are.

    Args:
        request: what to answer.
        settings: where registry and caches are.
        reporter: told how far the work is.

    Raises:
        SpecError: model, data or result cannot be used.
        BundleError: the bundle was changed, or answers differently than in training.
        PermanentError: no example at all could be used.
    """
    result = _result(request)
    config = resolve_reference(request.model, base_dir=request.base_dir, settings=settings)
    examples = list_examples(
        request.data,
        takes_text=config.takes_text,
        column=request.column,
        base_dir=request.base_dir,
        cache_dir=settings.data_dir,
    )
    threads = len(os.sched_getaffinity(0))
    options = EngineOptions(threads=threads, max_batch_size=_MAX_BATCH_SIZE)
    model = load_model(config, options, max_image_pixels=DEFAULT_MAX_PIXELS)
    ours: dict[str, ColumnKind] = {**model.answers.columns(with_scores=request.with_scores), ERROR_COLUMN: "text"}
    columns = _columns(examples, ours)
    began = time.perf_counter()
    with (
        kept_answers(result, model=config.digest, columns=[*ours], examples=examples, restart=request.restart) as kept,
        _telling_what_is_kept(kept, len(examples.rows), reporter),
    ):
        _answer_rest(kept, examples, model, threads, request, reporter)
        told = _Told()
        with writing_table(result, columns) as add:
            for example, answer in zip(examples.rows, kept, strict=True):
                add([*example.cells, *(answer.cells or [None] * (len(ours) - 1)), answer.error or None])
                told.count(example, answer)
            if examples.rows and len(told.failures) == len(examples.rows):
                kept.drop()
                raise PermanentError(
                    f"None of {len(examples.rows)} examples could be used. The first: {told.failures[0]}"
                )
        kept.drop()
    for failure in told.failures[:_NAMED]:
        reporter.warn(failure)
    if examples.ignored:
        reporter.warn(_what_is_ignored(examples.ignored))
    return BatchOutcome(
        result=str(result),
        model=config.name,
        version=config.version,
        examples=len(examples.rows),
        failed=len(told.failures),
        seconds=time.perf_counter() - began,
        counts=dict(told.counts.most_common()),
    )


def _result(request: BatchRequest) -> Path:
    """Where to write, if nothing speaks against it."""
    given = request.result
    if is_remote(given):
        raise _problem("RESULT", given, "a file on this machine", "Write it here, and copy it there.")
    if table_kind(given) is None:
        raise _problem("RESULT", given, "a name that ends in .csv, .jsonl or .parquet", "Change it.")
    path = Path(absolute_uri(given, request.base_dir))
    if path == Path(absolute_uri(request.data, request.base_dir)):
        raise _problem("RESULT", f"{given}, which is DATA", "a file of its own", "Name another file.")
    if path.is_dir() or (path.exists() and not request.overwrite):
        raise _problem("RESULT", f"{given}, which exists", "a new file", "Name another one, or add --overwrite.")
    return path


def _answer_rest(
    kept: KeptAnswers, examples: Examples, model: ServedModel, threads: int, request: BatchRequest, reporter: Reporter
) -> None:
    """Answer what is not answered yet."""
    rows, answers, with_scores = examples.rows, model.answers, request.with_scores
    if kept.count:
        reporter.say(f"going on after {kept.count:,} answers of a try that was cut off (--restart starts over)")
    with reporter.task("predict", len(rows), "texts" if model.takes_text else "pictures") as task:
        task.advance(kept.count)
        for answered in answers_to(rows[kept.count :], model, threads=threads):
            values = answered.values
            kept.add(
                KeptAnswer(cells=[], labels=[], error=answered.error)
                if values is None
                else KeptAnswer(
                    cells=answers.cells(values, with_scores=with_scores),
                    labels=[*answers.decisions(values[None])[0]],
                )
            )
            task.advance()


@contextmanager
def _telling_what_is_kept(kept: KeptAnswers, examples: int, reporter: Reporter) -> Iterator[None]:
    """Whoever interrupts the work learns that it is not lost."""
    try:
        yield
    except KeyboardInterrupt:
        reporter.warn(f"{kept.count:,} of {examples:,} answers are kept in {kept.file}: the same command goes on")
        raise


class _Told:
    """What is told of the answers beside the table."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.counts: Counter[str] = Counter()

    def count(self, example: BatchExample, answer: KeptAnswer) -> None:
        if answer.error:
            self.failures.append(f"{example.place}: {answer.error}")
        self.counts.update(answer.labels)


def _what_is_ignored(files: Sequence[str]) -> str:
    more = f" and {len(files) - _NAMED:,} more" if len(files) > _NAMED else ""
    named = ", ".join(files[:_NAMED]) + more
    return f"{len(files):,} files have no row, because their names do not end like those of pictures: {named}"


def _columns(examples: Examples, ours: dict[str, ColumnKind]) -> dict[str, ColumnKind]:
    taken = [name for name in examples.columns if name in ours]
    if taken:
        raise _problem(
            "DATA",
            f"a table with the column {' and '.join(taken)}",
            "no column with the name of an answer's",
            "Rename it: the result holds the table's columns beside the answers'.",
        )
    columns: dict[str, ColumnKind] = {}
    for name in examples.columns:
        columns[name] = "text"
    return columns | ours


def _problem(where: str, received: str, expected: str, fix: str) -> SpecError:
    return SpecError(Problem(where=where, received=received, expected=expected, fix=fix))
