from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from graftwork_serving.work_pool import DecodeStep, PoolFullError, PredictStep, WorkPool, next_step


class Recorder:
    """A model that answers each example with its own value, and keeps what it was asked."""

    def __init__(self, batch_size: int = 4, *, group: object = None, labels: int = 1) -> None:
        self.batch_size = batch_size
        self.group = group
        self.labels = labels
        self.batches: list[int] = []
        self.alone: list[bool] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def decode(self, data: bytes) -> np.ndarray:
        if data == b"broken":
            raise ValueError("broken")
        return np.full((1, 1, 3), int(data), dtype=np.uint8)

    @property
    def shares(self) -> object:
        return self.group or self

    def predict(self, examples: Sequence[np.ndarray], *, owners: Sequence[Recorder], alone: bool) -> list[np.ndarray]:
        self.entered.set()
        self.gate.wait(10)
        self.batches.append(len(examples))
        self.alone.append(alone)
        values = np.stack(examples)[:, 0, 0, 0].astype(np.float32)
        return [np.full(owner.labels, value, np.float32) for owner, value in zip(owners, values, strict=True)]


@pytest.mark.parametrize(
    ("raw", "decoded", "expected"),
    [
        (0, 0, None),
        (3, 0, DecodeStep()),
        (3, 1, DecodeStep()),
        (0, 1, PredictStep(examples=1)),
        (3, 4, PredictStep(examples=4)),
        (0, 9, PredictStep(examples=4)),
    ],
)
def test_a_pass_starts_when_it_is_full_or_nothing_is_left_to_decode(
    raw: int, decoded: int, expected: DecodeStep | PredictStep | None
) -> None:
    """Waiting examples share a pass, and no example waits for others to come."""
    assert next_step(raw=raw, decoded=decoded, batch_size=4) == expected


def test_every_request_gets_its_own_scores_in_order() -> None:
    """However examples are mixed into batches, answers come back to who asked, in the order sent."""
    pool, model = WorkPool(threads=2), Recorder()

    async def ask() -> list[np.ndarray]:
        requests = [[str(3 * index + step).encode() for step in range(3)] for index in range(20)]
        return list(await asyncio.gather(*(pool.predict(model, request) for request in requests)))

    answers = asyncio.run(ask())
    pool.close()
    assert np.concatenate(answers).ravel().tolist() == list(range(60))
    assert max(model.batches) <= 4


def test_waiting_requests_share_a_pass() -> None:
    """While one pass runs, what arrives meanwhile is put together for the next."""
    pool, model = WorkPool(threads=1), Recorder(batch_size=8)
    model.gate.clear()

    async def ask() -> None:
        first = asyncio.create_task(pool.predict(model, [b"1"]))
        await asyncio.to_thread(model.entered.wait, 10)
        others = [asyncio.create_task(pool.predict(model, [b"2"])) for _ in range(5)]
        await asyncio.sleep(0)
        model.gate.set()
        await asyncio.gather(first, *others)

    asyncio.run(ask())
    pool.close()
    assert model.batches == [1, 5]
    assert model.alone == [True, True]


def _blocked(pool: WorkPool, *requests: tuple[Recorder, int]) -> list[np.ndarray]:
    """Answers to requests that all arrive while a first one is under way."""
    gate = Recorder(batch_size=1)
    gate.gate.clear()

    async def ask() -> list[np.ndarray]:
        first = asyncio.create_task(pool.predict(gate, [b"0"]))
        await asyncio.to_thread(gate.entered.wait, 10)
        others = [asyncio.create_task(pool.predict(model, [str(value).encode()])) for model, value in requests]
        await asyncio.sleep(0)
        gate.gate.set()
        await first
        return list(await asyncio.gather(*others))

    answers = asyncio.run(ask())
    pool.close()
    return answers


def test_models_that_share_a_trunk_share_passes() -> None:
    """Examples of several models go into one pass, and each is answered by its own model."""
    trunk = object()
    models = [Recorder(batch_size=8, group=trunk, labels=labels) for labels in (1, 2, 3)]
    answers = _blocked(WorkPool(threads=1), *((models[index % 3], index) for index in range(6)))
    assert [size for model in models for size in model.batches] == [6]
    assert [answer[0].tolist() for answer in answers] == [[0], [1, 1], [2, 2, 2], [3], [4, 4], [5, 5, 5]]


def test_models_of_their_own_batch_however_their_requests_are_mixed() -> None:
    """Requests of two models that take turns are answered in one pass of each."""
    first, second = Recorder(batch_size=8), Recorder(batch_size=8)
    answers = _blocked(WorkPool(threads=1), *((second if index % 2 else first, index) for index in range(8)))
    assert (first.batches, second.batches) == ([4], [4])
    assert [answer.item() for answer in answers] == list(range(8))


def test_a_broken_example_fails_its_own_request_only() -> None:
    """One client's bad picture does not spoil the batch of others."""
    pool, model = WorkPool(threads=1), Recorder()

    async def ask() -> list[object]:
        return list(
            await asyncio.gather(
                pool.predict(model, [b"7"]),
                pool.predict(model, [b"8", b"broken"]),
                pool.predict(model, [b"9"]),
                return_exceptions=True,
            )
        )

    good, bad, also_good = asyncio.run(ask())
    pool.close()
    assert isinstance(bad, ValueError)
    assert [np.asarray(good).item(), np.asarray(also_good).item()] == [7, 9]
    assert pool.waiting == 0


def test_requests_beyond_the_limit_are_refused_at_once() -> None:
    """A full queue says so instead of growing; room comes back when it empties."""
    pool, model = WorkPool(threads=1, max_waiting=2), Recorder(batch_size=1)
    model.gate.clear()

    async def ask() -> None:
        running = asyncio.create_task(pool.predict(model, [b"1"]))
        await asyncio.to_thread(model.entered.wait, 10)
        waiting = [asyncio.create_task(pool.predict(model, [b"2"])) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(PoolFullError):
            await pool.predict(model, [b"3"])
        model.gate.set()
        await asyncio.gather(running, *waiting)
        assert (await pool.predict(model, [b"4"])).item() == 4

    asyncio.run(ask())
    pool.close()


def test_a_client_that_went_away_costs_no_pass() -> None:
    """Examples of a cancelled request are dropped before they reach the model."""
    pool, model = WorkPool(threads=1), Recorder(batch_size=8)
    model.gate.clear()

    async def ask() -> None:
        first = asyncio.create_task(pool.predict(model, [b"1"]))
        await asyncio.to_thread(model.entered.wait, 10)
        gone = asyncio.create_task(pool.predict(model, [b"2"]))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        model.gate.set()
        await first

    asyncio.run(ask())
    pool.close()
    assert model.batches == [1]
    assert pool.waiting == 0
