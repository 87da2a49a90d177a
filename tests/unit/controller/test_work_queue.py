from __future__ import annotations

import asyncio
import threading
from collections import Counter

import pytest

from graftwork.controller.work_queue import WorkQueue, delay_after


async def _until_idle(queue: WorkQueue[str], looks: Counter[str], wanted: int) -> None:
    while sum(looks.values()) < wanted or len(queue):  # noqa: ASYNC110 (looks end in threads; nothing waits on time)
        await asyncio.sleep(0)


def test_one_object_is_never_looked_at_twice_at_once() -> None:
    """News about an object while it is looked at mean one more look afterwards, not a second one beside."""
    inside: Counter[str] = Counter()
    looks: Counter[str] = Counter()
    most = 0
    release = threading.Event()

    def look(key: str) -> None:
        nonlocal most
        inside[key] += 1
        most = max(most, inside[key])
        release.wait(5)
        inside[key] -= 1
        looks[key] += 1

    async def scene() -> None:
        queue = WorkQueue[str](look=look)
        worker = asyncio.create_task(queue.work(at_once=4))
        queue.add("a")
        while not inside["a"]:  # noqa: ASYNC110 (as above)
            await asyncio.sleep(0)
        for _ in range(5):
            queue.add("a")
        queue.add("b")
        release.set()
        await _until_idle(queue, looks, 3)
        worker.cancel()

    asyncio.run(asyncio.wait_for(scene(), 10))
    assert most == 1
    assert looks == {"a": 2, "b": 1}


def test_a_failure_is_tried_again() -> None:
    """An error of one object delays that object, and no other."""
    looks: Counter[str] = Counter()

    def look(key: str) -> None:
        looks[key] += 1
        if key == "bad" and looks[key] == 1:
            raise RuntimeError("once")

    errors: dict[str, list[str]] = {"bad": [], "good": []}

    def note(key: str, _waited_s: float, _worked_s: float, error: Exception | None) -> None:
        errors[key].append(type(error).__name__)

    async def scene() -> None:
        queue = WorkQueue[str](look=look, on_look=note)
        worker = asyncio.create_task(queue.work(at_once=1))
        queue.add("bad")
        queue.add("good")
        await _until_idle(queue, looks, 2)
        assert looks == {"bad": 1, "good": 1}
        queue.add("bad")  # its turn comes
        while len(errors["bad"]) < 2:  # noqa: ASYNC110 (as above)
            await asyncio.sleep(0)
        worker.cancel()

    asyncio.run(asyncio.wait_for(scene(), 10))
    assert looks == {"bad": 2, "good": 1}
    assert errors == {"bad": ["RuntimeError", "NoneType"], "good": ["NoneType"]}


@pytest.mark.parametrize(("failures", "delay_s"), [(1, 1.0), (2, 2.0), (5, 16.0), (50, 120.0)])
def test_delays_grow_to_a_bound(failures: int, delay_s: float) -> None:
    """Twice as long after each failure, two minutes at most."""
    assert delay_after(failures) == delay_s
