"""Decoding and inference on a fixed set of threads: adaptive micro-batching without waiting.

Every thread does whatever comes next: run a batch when enough examples are decoded or none is left to decode, otherwise
decode one more. So a lone request is never held back, waiting examples share a pass, and there are never more busy
threads than CPUs. What may be done or dropped (copies for shadows) is done by one thread at a time, and only while none
has anything else. Nothing here knows a protocol.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from graftwork.errors import GraftworkError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Work(Protocol):
    """What the pool needs of a model."""

    @property
    def batch_size(self) -> int:
        """Most examples in one pass."""
        ...

    def decode(self, data: bytes) -> NDArray[Any]:
        """One raw input as the model takes it, without the batch dimension."""
        ...

    @property
    def shares(self) -> object:
        """Examples of all models with the same one go into one pass."""
        ...

    def predict(
        self, examples: Sequence[NDArray[Any]], *, owners: Sequence[Any], alone: bool
    ) -> Sequence[NDArray[np.float32]]:
        """For each of some decoded examples its scores, in one pass.

        Args:
            examples: decoded.
            owners: the model each is for; all share what this one shares.
            alone: no other pass is under way or waiting.
        """
        ...


# Examples that may wait for the pool to have nothing else to do.
_MAX_IDLE = 64


class ExampleError(GraftworkError):
    """An example of a request cannot be decoded; its cause says why.

    Attributes:
        index: which of them, from 0.
    """

    def __init__(self, index: int, why: str) -> None:
        self.index = index
        super().__init__(why)


class PoolFullError(Exception):
    """More requests wait than allowed."""


@dataclass(eq=False, kw_only=True)
class _Request:
    model: Work
    future: asyncio.Future[NDArray[np.float32]]
    loop: asyncio.AbstractEventLoop
    scores: list[NDArray[np.float32] | None]
    left: int
    started: bool = False
    over: bool = False
    is_idle: bool = False


@dataclass(eq=False, kw_only=True)
class _Example:
    request: _Request
    index: int
    data: bytes | NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class DecodeStep:
    """Decode the oldest raw example."""


@dataclass(frozen=True, kw_only=True)
class PredictStep:
    """Run a batch of the oldest decoded examples.

    Attributes:
        examples: at most so many.
    """

    examples: int


def next_step(*, raw: int, decoded: int, batch_size: int) -> DecodeStep | PredictStep | None:
    """What a free thread does next; None when there is nothing to do.

    Args:
        raw: examples that wait to be decoded.
        decoded: examples that wait for a model.
        batch_size: most examples in a pass of the model whose turn it is.
    """
    if decoded and (decoded >= batch_size or not raw):
        return PredictStep(examples=min(decoded, batch_size))
    return DecodeStep() if raw else None


class WorkPool:
    """The threads.

    Args:
        threads: how many, at least 1.
        on_batch: told of every pass: the model and how many examples shared it. Called by the threads.

    Attributes:
        max_waiting: requests that may wait before the next is refused; may be changed at any time.
    """

    def __init__(
        self, *, threads: int, max_waiting: int = 256, on_batch: Callable[[Work, int], None] | None = None
    ) -> None:
        self.max_waiting = max_waiting
        self._on_batch = on_batch
        self._wake = threading.Condition()
        self._raw: deque[_Example] = deque()
        # By what runs their passes; the first ones have waited longest for their turn.
        self._decoded: dict[object, deque[_Example]] = {}
        self._idle: deque[_Example] = deque()
        self._waiting = 0
        self._busy = 0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"graftwork-work-{index}", daemon=True) for index in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Requests none of whose examples a thread has taken up yet."""
        return self._waiting

    @property
    def is_alive(self) -> bool:
        """Whether all threads run."""
        return all(thread.is_alive() for thread in self._threads)

    async def predict(self, model: Work, examples: Sequence[bytes | NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Decode (where an example is bytes) and score the examples of one request.

        Returns:
            Scores, shape (len(examples), labels), float32.

        Raises:
            PoolFullError: too many requests wait already.
            ExampleError: an example cannot be decoded.
        """
        request = _new_request(model, len(examples))
        with self._wake:
            if self._waiting >= self.max_waiting:
                raise PoolFullError
            self._waiting += 1
            for index, data in enumerate(examples):
                example = _Example(request=request, index=index, data=data)
                if isinstance(data, bytes):
                    self._raw.append(example)
                else:
                    self._add_decoded(example)
            self._wake.notify(len(examples))
        return await _scores(request)

    async def predict_when_idle(
        self, model: Work, examples: Sequence[bytes | NDArray[np.uint8]]
    ) -> NDArray[np.float32]:
        """As `predict`, one example after the other and only while there is nothing else to do.

        Raises:
            PoolFullError: there has been something else to do for too long.
            ExampleError: an example cannot be decoded.
        """
        request = _new_request(model, len(examples), is_idle=True)
        with self._wake:
            if len(self._idle) + len(examples) > _MAX_IDLE:
                raise PoolFullError
            self._idle.extend(_Example(request=request, index=index, data=data) for index, data in enumerate(examples))
            self._wake.notify()
        return await _scores(request)

    def close(self) -> None:
        """Let the threads finish what waits, then end them; what waits for an idle moment is dropped."""
        with self._wake:
            self._closed = True
            for example in self._idle:
                _finish(example.request, PoolFullError())
            self._idle.clear()
            self._wake.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._wake:
                step = self._next_step()
                is_idle = step is None
                if step is not None:
                    taken = self._take(step)
                elif self._closed:
                    return
                elif self._idle and self._busy == 0:
                    step, taken = self._take_idle()
                else:
                    self._wake.wait()
                    continue
                self._busy += 1
                alone = self._busy == 1 and not self._raw and not self._decoded and not is_idle
            try:
                if taken:
                    self._carry_out(step, taken, alone=alone)
            finally:
                with self._wake:
                    self._busy -= 1
                    if self._idle:  # whoever waited because this thread was busy
                        self._wake.notify()

    def _next_step(self) -> DecodeStep | PredictStep | None:
        turn = next(iter(self._decoded.values()), None)
        return next_step(
            raw=len(self._raw),
            decoded=sum(map(len, self._decoded.values())),
            batch_size=turn[0].request.model.batch_size if turn else 1,
        )

    def _add_decoded(self, example: _Example) -> None:
        self._decoded.setdefault(example.request.model.shares, deque()).append(example)

    def _take(self, step: DecodeStep | PredictStep) -> list[_Example]:
        """Take examples off their queue, those of one pass only; drop those of requests that are over."""
        if isinstance(step, DecodeStep):
            return self._take_from(self._raw, 1)
        shares, queue = next(iter(self._decoded.items()))
        taken = self._take_from(queue, step.examples)
        del self._decoded[shares]
        if queue:
            self._decoded[shares] = queue  # behind the others
        return taken

    def _take_from(self, queue: deque[_Example], limit: int) -> list[_Example]:
        taken: list[_Example] = []
        while queue and len(taken) < limit:
            example = queue.popleft()
            if not example.request.started:
                example.request.started = True
                self._waiting -= 1
            if not example.request.over:
                taken.append(example)
        return taken

    def _take_idle(self) -> tuple[DecodeStep | PredictStep, list[_Example]]:
        example = self._idle.popleft()
        step = DecodeStep() if isinstance(example.data, bytes) else PredictStep(examples=1)
        return step, [] if example.request.over else [example]

    def _carry_out(self, step: DecodeStep | PredictStep, examples: list[_Example], *, alone: bool) -> None:
        try:
            if isinstance(step, DecodeStep):
                self._decode(examples[0])
            else:
                self._predict(examples, alone=alone)
        except Exception as error:
            for example in examples:
                _finish(example.request, error)

    def _decode(self, example: _Example) -> None:
        if isinstance(example.data, bytes):
            try:
                example.data = example.request.model.decode(example.data)
            except GraftworkError as error:
                raise ExampleError(example.index, str(error)) from error
        with self._wake:
            if example.request.is_idle:
                self._idle.appendleft(example)
            else:
                self._add_decoded(example)

    def _predict(self, examples: list[_Example], *, alone: bool) -> None:
        owners = [example.request.model for example in examples]
        # `_decode` has replaced the raw bytes of each by an array.
        arrays = [np.asarray(example.data) for example in examples]
        scores = owners[0].predict(arrays, owners=owners, alone=alone)
        if self._on_batch is not None and not examples[0].request.is_idle:
            self._on_batch(owners[0], len(examples))
        for example, row in zip(examples, scores, strict=True):
            request = example.request
            request.scores[example.index] = row
            with self._wake:
                request.left -= 1
                is_last = request.left == 0
            if is_last:
                _finish(request, None)


def _new_request(model: Work, examples: int, *, is_idle: bool = False) -> _Request:
    loop = asyncio.get_running_loop()
    return _Request(
        model=model,
        future=loop.create_future(),
        loop=loop,
        scores=[None] * examples,
        left=examples,
        is_idle=is_idle,
    )


async def _scores(request: _Request) -> NDArray[np.float32]:
    try:
        return await request.future
    finally:
        request.over = True  # a client that went away: threads drop what is left of it


def _finish(request: _Request, error: Exception | None) -> None:
    request.over = True
    try:
        request.loop.call_soon_threadsafe(_settle, request, error)
    except RuntimeError:
        # The event loop has been closed: the replica is going away and nobody waits any more.
        return


def _settle(request: _Request, error: Exception | None) -> None:
    if request.future.done():
        return
    if error is not None:
        request.future.set_exception(error)
    else:
        request.future.set_result(np.stack(request.scores))  # type: ignore[arg-type]
