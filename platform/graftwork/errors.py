"""What can go wrong, said so that a user can act on it.

Every error a user can see is a `GraftworkError` whose text answers four questions: where, what was received, what was
expected, and what to do. Errors meant for developers of Graftwork stay ordinary Python exceptions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong with what the user gave.

    Attributes:
        where: YAML path (`spec.scaling.workers`), request field or file path.
        received: what was found there, short enough for one line.
        expected: what is allowed there.
        fix: one sentence that tells what to do.
        file: the file that holds it, if any.
        line: 1-based line in `file`, if known.
    """

    where: str
    received: str
    expected: str
    fix: str
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = ""
        if self.file is not None:
            place = f"{self.file}:{self.line}: " if self.line is not None else f"{self.file}: "
        return f"{place}{self.where}: received {self.received}, expected {self.expected}. {self.fix}"

    def as_dict(self) -> dict[str, str | int | None]:
        """The problem as plain JSON-ready values."""
        return {
            "file": self.file,
            "line": self.line,
            "where": self.where,
            "received": self.received,
            "expected": self.expected,
            "fix": self.fix,
        }


class GraftworkError(Exception):
    """Base of every error whose text is meant for a user."""


class SpecError(GraftworkError):
    """What the user gave (spec, data, model reference) is wrong; the user can fix it.

    Attributes:
        problems: all problems found, in the order of the file.
    """

    def __init__(self, problems: Problem | Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[SpecError], tuple[tuple[Problem, ...]]]:
        # Exceptions pickle by their text; keep the problems whole when one crosses a process boundary.
        return (type(self), (self.problems,))


class RequestError(GraftworkError):
    """A prediction request that cannot be answered; the client can fix it.

    Attributes:
        status: HTTP status code, 400-499; 503 or 504 where the same request may do later.
        message: the sentence sent to the client.
    """

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(message)

    def __reduce__(self) -> tuple[type[RequestError], tuple[int, str]]:
        return (type(self), (self.status, self.message))


class TransientError(GraftworkError):
    """Something outside failed and may work later.

    Attributes:
        delay_s: how long to wait before trying again, in seconds.
    """

    def __init__(self, message: str, *, delay_s: float) -> None:
        self.delay_s = delay_s
        super().__init__(message)


class PermanentError(GraftworkError):
    """Something failed that trying again will not mend."""
