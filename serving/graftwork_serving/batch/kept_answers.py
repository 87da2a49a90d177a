"""Answers on disk while there is no result yet: whatever ends the work, it goes on where it was.

One line of JSON an example, in the order of the examples, after a line that says what is answered by whom. A line that
is not whole was being written when the process died. Examples that could not be used at the end, as while a network is
gone, are looked at again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from graftwork.errors import Problem, SpecError

if TYPE_CHECKING:
    from graftwork.data_files.table_writer import Cell
    from graftwork_serving.batch.examples import Examples

_FORMAT = 1
_SUFFIX = ".unfinished"
# How the line of an example ends that could be used.
_USED = b', ""]\n'


@dataclass(frozen=True, kw_only=True)
class KeptAnswer:
    """What is known of an example once it was looked at.

    Attributes:
        cells: of the answer's columns; empty if the example cannot be used.
        labels: it is answered with.
        error: why it cannot be used; empty otherwise.
    """

    cells: list[Cell]
    labels: list[str]
    error: str = ""


class KeptAnswers:
    """Those of one result; from `kept_answers`.

    Attributes:
        file: where they are.
        count: how many there are.
    """

    def __init__(self, file: Path, stream: IO[bytes], count: int) -> None:
        self.file = file
        self.count = count
        self._stream = stream

    def add(self, answer: KeptAnswer) -> None:
        """The next example's."""
        self._stream.write(_line([answer.cells, answer.labels, answer.error]))
        self.count += 1

    def __iter__(self) -> Iterator[KeptAnswer]:
        """All of them, in the order of the examples."""
        self._stream.flush()
        with self.file.open("rb") as stream:
            next(stream)
            for line in stream:
                cells, labels, error = json.loads(line)
                yield KeptAnswer(cells=cells, labels=labels, error=error)

    def drop(self) -> None:
        """There is a result, or nothing worth keeping."""
        self.file.unlink()


@contextmanager
def kept_answers(
    result: Path, *, model: str, columns: Sequence[str], examples: Examples, restart: bool
) -> Iterator[KeptAnswers]:
    """What an earlier try answered, and the place for more; it stays unless it is dropped.

    Args:
        result: the table that is to be written.
        model: digest of the bundle that answers.
        columns: of the answers.
        examples: to answer.
        restart: whether earlier answers are dropped.

    Raises:
        SpecError: another process writes the result, or what was kept is of something else.
    """
    file = result.with_name(f"{result.name}{_SUFFIX}")
    file.parent.mkdir(parents=True, exist_ok=True)
    head = _line({"format": _FORMAT, "model": model, "columns": [*columns], "examples": _digest(examples)})
    with file.open("ab+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _problem(
                f"{result.name}, which another process is writing",
                "a file that nobody else writes",
                "Wait for it, or name another file.",
            ) from error
        count = 0 if restart else _go_on(stream, head, result, file)
        if not count:
            stream.truncate(0)
            stream.write(head)
        yield KeptAnswers(file, stream, count)


def _go_on(stream: IO[bytes], head: bytes, result: Path, file: Path) -> int:
    """How many answers there are of this very work, up to the last that is one; what follows is taken away."""
    stream.seek(0)
    found, count, end = stream.readline(), 0, stream.tell()
    seen, place = 0, end
    for line in stream:
        seen, place = seen + 1, place + len(line)
        if line.endswith(_USED):
            count, end = seen, place
    if count and found != head:
        others = "answers to other examples, of another model or in other columns"
        raise _problem(
            f"{result.name}, beside which {file.name} keeps {count:,} {others}",
            "what those answers were given to",
            "Name another file, or drop those answers with --restart.",
        )
    stream.truncate(end)
    return count


def _digest(examples: Examples) -> str:
    """Of what is known of all examples without reading them."""
    state = hashlib.sha256(_line([*examples.columns]))
    for each in examples.rows:
        state.update(_line([each.place, *each.cells]))
    return state.hexdigest()


def _line(content: Any) -> bytes:
    return json.dumps(content).encode() + b"\n"


def _problem(received: str, expected: str, fix: str) -> SpecError:
    return SpecError(Problem(where="RESULT", received=received, expected=expected, fix=fix))
