"""Answers examples in their order with all threads of the machine, holding few of them in memory at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graftwork.data_files.fetch import FetchError
from graftwork_serving.work_pool import ExampleError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from graftwork_serving.batch.examples import BatchExample
    from graftwork_serving.work_pool import Work, WorkPool

# Examples put in order of size: texts of one length need no padding in a pass.
_SORTED_AT_A_TIME = 512
# Passes for which raw inputs are held in memory, for each thread.
_PASSES_AHEAD = 3


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


async def answers_to(
    examples: Sequence[BatchExample], model: Work, pool: WorkPool, *, threads: int
) -> AsyncIterator[Sequence[Answered]]:
    """Answer examples, some at a time.

    Args:
        examples: all of them.
        model: what answers.
        pool: computes, with `threads` threads.
        threads: how many.

    Yields:
        Answers in the order of the examples.
    """
    # A request is one example, so that one that cannot be used takes no other with it.
    room = asyncio.Semaphore(_PASSES_AHEAD * threads * max(model.batch_size, 2))
    pool.max_waiting = len(examples)

    async def answer(example: BatchExample) -> Answered:
        async with room:
            try:
                data = await asyncio.to_thread(example.read)
                return Answered(example=example, values=(await pool.predict(model, [data]))[0])
            except (ExampleError, FetchError) as error:
                return Answered(example=example, error=str(error))

    def begun(part: Sequence[BatchExample]) -> list[asyncio.Task[Answered]]:
        order = sorted(range(len(part)), key=lambda index: part[index].size)
        tasks = {index: asyncio.create_task(answer(part[index])) for index in order}
        return [tasks[index] for index in range(len(part))]

    ahead: list[asyncio.Task[Answered]] = []
    try:
        for part in _parts(examples):
            # The next ones are begun before these are waited for, so that no thread runs dry in between.
            under_way, ahead = ahead, begun(part)
            if under_way:
                yield await asyncio.gather(*under_way)
        yield await asyncio.gather(*ahead)
    finally:
        for task in ahead:
            task.cancel()


def _parts(examples: Sequence[BatchExample]) -> Iterator[Sequence[BatchExample]]:
    for start in range(0, len(examples), _SORTED_AT_A_TIME):
        yield examples[start : start + _SORTED_AT_A_TIME]
