"""Answers examples in their order with several threads, holding few of them in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from graftwork.errors import GraftworkError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from graftwork_serving.batch.examples import BatchExample
    from graftwork_serving.work_pool import Work

# Examples put in order of size: texts of one length need no padding in a pass.
_SORTED_AT_A_TIME = 512


@dataclass(frozen=True, kw_only=True)
class Answered:
    """An example with its answer.

    Attributes:
        example: which.
        values: what the model gave, shape (labels,); None if it cannot be used.
        error: why not; empty otherwise.
    """

    example: BatchExample
    values: NDArray[np.float32] | None = None
    error: str = ""


def answers_to(examples: Sequence[BatchExample], model: Work, *, threads: int) -> Iterator[Answered]:
    """Answer examples. Each thread reads, decodes and computes one pass after another.

    Args:
        examples: all of them.
        model: what answers; threads call it at the same time.
        threads: how many.

    Yields:
        Answers in the order of the examples.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="graftwork-batch")
    ahead: _Part = []
    try:
        for part in _slices(examples, _SORTED_AT_A_TIME):
            # The next ones are begun before these are waited for, so that no thread runs dry in between.
            under_way, ahead = ahead, _begin(pool, part, model)
            yield from _in_order(under_way)
        yield from _in_order(ahead)
    finally:
        # What has not begun is dropped: after an error, or when nobody wants the rest.
        pool.shutdown(cancel_futures=True)


_Part = list[tuple[Sequence[int], "Future[list[Answered]]"]]
"""Passes of examples that are put in order together: their places, and what they come to."""


def _begin(pool: ThreadPoolExecutor, part: Sequence[BatchExample], model: Work) -> _Part:
    by_size = sorted(range(len(part)), key=lambda place: part[place].size)
    return [
        (places, pool.submit(_one_pass, [part[place] for place in places], model))
        for places in _slices(by_size, model.batch_size)
    ]


def _in_order(part: _Part) -> Iterator[Answered]:
    answered = {place: each for places, passed in part for place, each in zip(places, passed.result(), strict=True)}
    for place in range(len(answered)):
        yield answered[place]


def _one_pass(examples: Sequence[BatchExample], model: Work) -> list[Answered]:
    inputs: list[NDArray[Any]] = []
    errors: dict[int, str] = {}
    for place, example in enumerate(examples):
        try:
            inputs.append(model.decode(example.read()))
        except GraftworkError as error:
            errors[place] = str(error)
    values = iter(model.predict(inputs, owners=[model] * len(inputs), alone=False) if inputs else ())
    return [
        Answered(example=example, error=errors[place])
        if place in errors
        else Answered(example=example, values=next(values))
        for place, example in enumerate(examples)
    ]


_Item = TypeVar("_Item")


def _slices(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
