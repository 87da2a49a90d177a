"""Answers that outlive the process that gave them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from graftwork.errors import SpecError
from graftwork_serving.batch.examples import BatchExample, Examples
from graftwork_serving.batch.kept_answers import KeptAnswer, kept_answers

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from graftwork_serving.batch.kept_answers import KeptAnswers

ANSWERS = [
    KeptAnswer(cells=["rose", 0.1], labels=["rose"]),
    KeptAnswer(cells=[], labels=[], error='no "picture"'),
    KeptAnswer(cells=[["tulip", "\udce4"], 1e-7], labels=["tulip", "\udce4"]),
    KeptAnswer(cells=[], labels=[], error="no network"),
]


def _examples(*names: str) -> Examples:
    rows = tuple(BatchExample(place=name, cells=(name,), size=1, read=bytes) for name in names)
    return Examples(columns=("file",), rows=rows)


def _kept(
    folder: Path,
    *,
    model: str = "a",
    columns: tuple[str, ...] = ("label",),
    examples: Examples | None = None,
    restart: bool = False,
) -> AbstractContextManager[KeptAnswers]:
    examples = examples or _examples("1", "2", "3", "4")
    return kept_answers(folder / "t.csv", model=model, columns=columns, examples=examples, restart=restart)


def _answer(folder: Path, answers: list[KeptAnswer]) -> None:
    with _kept(folder) as kept:
        for answer in answers:
            kept.add(answer)


def test_answers_come_back_as_they_were_given(tmp_path: Path) -> None:
    """In their order, and while more are added; examples at the end that could not be used are looked at again."""
    with _kept(tmp_path) as kept:
        assert kept.count == 0
        for answer in ANSWERS:
            kept.add(answer)
        assert [*kept] == ANSWERS
    with _kept(tmp_path) as kept:
        assert kept.count == 3
        assert [*kept] == ANSWERS[:3]
        kept.add(ANSWERS[0])
        assert [*kept] == [*ANSWERS[:3], ANSWERS[0]]
        kept.drop()
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("lost", range(1, 60))
def test_half_a_line_does_not_count(tmp_path: Path, lost: int) -> None:
    """The process died while it wrote; wherever it was cut off, what is whole is kept."""
    _answer(tmp_path, ANSWERS[:3])
    file = tmp_path / "t.csv.unfinished"
    content = file.read_bytes()
    file.write_bytes(content[:-lost])
    with _kept(tmp_path) as kept:
        assert kept.count == 1
        kept.add(ANSWERS[1])
        kept.add(ANSWERS[2])
        assert [*kept] == ANSWERS[:3]
    assert file.read_bytes() == content


def test_a_file_without_a_whole_head_is_begun_anew(tmp_path: Path) -> None:
    """The process died at once."""
    (tmp_path / "t.csv.unfinished").write_bytes(b'{"form')
    with _kept(tmp_path) as kept:
        assert (kept.count, [*kept]) == (0, [])


@pytest.mark.parametrize(
    "changed",
    [{"model": "b"}, {"columns": ("label", "score")}, {"examples": _examples("1", "2", "3", "5")}],
)
def test_answers_of_something_else_are_not_gone_on_from(tmp_path: Path, changed: dict[str, object]) -> None:
    """They may have taken a night: dropped only if asked."""
    _answer(tmp_path, ANSWERS[:1])
    with (
        pytest.raises(SpecError, match=r"t\.csv\.unfinished keeps 1 answers to other .*--restart"),
        _kept(
            tmp_path,
            **changed,  # type: ignore[arg-type]
        ),
    ):
        pass
    with _kept(tmp_path) as kept:
        assert kept.count == 1
    with _kept(tmp_path, restart=True, **changed) as kept:  # type: ignore[arg-type]
        assert kept.count == 0


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """Two would mix their lines."""
    with _kept(tmp_path), pytest.raises(SpecError, match="another process is writing"), _kept(tmp_path):
        pass
