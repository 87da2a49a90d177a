"""Answers come in the order of the examples, and few examples are held at a time."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from graftwork.data_files.fetch import FetchError
from graftwork.errors import GraftworkError
from graftwork_serving.batch.answering import Answered, answers_to
from graftwork_serving.batch.examples import BatchExample

_THREADS = 2


class Doubler:
    """Answers twice the number it is sent."""

    batch_size = 4

    def __init__(self) -> None:
        self.reads = 0
        self.held = 0
        self.most_held = 0
        self.passes: list[list[int]] = []
        self._lock = threading.Lock()

    @property
    def shares(self) -> object:
        """Nothing but itself."""
        return self

    def decode(self, data: bytes) -> np.ndarray:
        if data == b"broken":
            raise GraftworkError("no number")
        if data == b"bug":
            raise ZeroDivisionError
        return np.asarray([int(data)])

    def predict(self, examples: Sequence[np.ndarray], *, owners: Sequence[object], alone: bool) -> list[np.ndarray]:
        del owners, alone
        with self._lock:
            self.held -= len(examples)
            self.passes.append([int(each[0]) for each in examples])
        return [np.asarray(2 * each, np.float32) for each in examples]

    def example(self, number: int) -> BatchExample:
        """One whose reading is counted; later ones are shorter, so that they are read first."""

        def read() -> bytes:
            with self._lock:
                self.reads += 1
                self.held += 1
                self.most_held = max(self.most_held, self.held)
            return str(number).encode()

        return BatchExample(place=str(number), cells=(str(number),), size=-number, read=read)


def _answers(examples: Sequence[BatchExample], model: Doubler) -> list[Answered]:
    return list(answers_to(examples, model, threads=_THREADS))


def _given(content: bytes) -> BatchExample:
    return BatchExample(place="here", cells=(content.decode(),), size=0, read=lambda: content)


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 1300])
def test_every_example_is_answered_in_its_place(count: int) -> None:
    """Although those of like size are computed together."""
    model = Doubler()
    found = _answers([model.example(number) for number in range(count)], model)
    assert [(each.example.cells[0], float(each.values[0])) for each in found if each.values is not None] == [
        (str(number), 2.0 * number) for number in range(count)
    ]


def test_few_examples_are_held_at_a_time() -> None:
    """As many as the threads' passes take, of any number; and few answers wait to be taken."""
    model = Doubler()
    answers = answers_to([model.example(number) for number in range(3000)], model, threads=_THREADS)
    for _ in answers:
        assert model.reads <= 3 * 512
        break
    assert len([*answers]) == 2999
    assert model.most_held <= _THREADS * model.batch_size


def test_examples_of_like_size_share_a_pass() -> None:
    """Texts of one length need no padding: the order of the sizes, in parts, whatever the examples' own."""
    model = Doubler()
    numbers = np.random.default_rng(0).permutation(1024)
    _answers([model.example(int(number)) for number in numbers], model)
    parts = [set(numbers[:512].tolist()), set(numbers[512:].tolist())]
    expected = {
        frozenset(ordered[start : start + model.batch_size])
        for ordered in (sorted(part, reverse=True) for part in parts)
        for start in range(0, 512, model.batch_size)
    }
    assert {frozenset(each) for each in model.passes} == expected


def test_one_that_cannot_be_used_takes_no_other_with_it() -> None:
    """Its reason stands in its place."""

    def gone() -> bytes:
        raise FetchError("x.png: nothing is there")

    missing = BatchExample(place="there", cells=("x",), size=0, read=gone)
    found = _answers([_given(b"1"), _given(b"broken"), missing, _given(b"2")], Doubler())
    assert [each.error for each in found] == ["", "no number", "x.png: nothing is there", ""]
    assert [each.values is None for each in found] == [False, True, True, False]


def test_a_bug_is_no_bad_example() -> None:
    """It ends the work."""
    with pytest.raises(ZeroDivisionError):
        _answers([_given(b"1"), _given(b"bug")], Doubler())
