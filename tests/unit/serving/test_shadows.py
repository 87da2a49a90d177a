from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from graftwork.bundle.answers import LabelAnswers, NumberAnswers, ScoreAnswers
from graftwork_serving.comparison import Comparison, compare
from graftwork_serving.routing import Arm
from graftwork_serving.served_model import ServedModel
from graftwork_serving.service import Prediction, PredictionService
from graftwork_serving.shadows import Shadows
from graftwork_serving.work_pool import PoolFullError, WorkPool
from tests.support.bundles import picture_bytes
from tests.unit.serving.models import FixedEngine, version


class Record:
    """Keeps what came of copies."""

    def __init__(self) -> None:
        self.comparisons: list[tuple[str, bool, float]] = []
        self.losses: list[tuple[str, str]] = []

    def compared(self, shadow: ServedModel, comparison: Comparison, seconds: float) -> None:
        assert seconds > 0
        assert comparison.differences is not None
        self.comparisons.append((shadow.version, bool(comparison.agrees.all()), float(comparison.differences.max())))

    def lost(self, shadow: ServedModel, examples: int, result: str) -> None:
        self.losses.append((shadow.version, result))


def rows(*values: tuple[float, ...]) -> np.ndarray:
    return np.asarray(values, np.float32)


def copies_of(shadow: ServedModel, examples: list[Any], *, share: float = 1.0, draw: float = 0.5) -> Record:
    """Answer a request and wait for what its copies give."""
    main, record = version("1", scores=(0.25, 0.75)), Record()
    arms = (Arm(reference="m@a", model=main), Arm(reference="m@b", model=shadow, shadow=share))
    pool = WorkPool(threads=2)

    async def ask() -> None:
        service = PredictionService(endpoint="e", arms=arms, pool=pool)
        shadows = Shadows(pool, draw=lambda: draw)
        prediction = await service.predict(service.find(), examples)
        assert prediction.model is main
        shadows.copy(prediction, shadow, share=share, record=record)
        waiting = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*waiting)

    asyncio.run(ask())
    pool.close()
    return record


def test_a_shadow_is_compared_with_the_answer() -> None:
    """Agreement and the largest difference come from what both said of the same picture."""
    assert copies_of(version("2", scores=(0.5, 0.5)), [picture_bytes(seed=1)]).comparisons == [("2", False, 0.25)]
    assert copies_of(version("2", scores=(0.0, 1.0)), [picture_bytes(seed=1)]).comparisons == [("2", True, 0.25)]


def test_a_shadow_with_another_input_size_reads_files_itself() -> None:
    """Files can be copied to any shadow, pixels only to one of the same size."""
    assert copies_of(version("2", side=8), [picture_bytes(seed=1)]).comparisons
    pixels = np.zeros((4, 4, 3), np.uint8)
    assert copies_of(version("2"), [pixels]).comparisons
    assert copies_of(version("2", side=8), [pixels]).losses == [("2", "incomparable")]


def test_only_the_share_is_copied() -> None:
    """A draw below the share copies, one above does not."""
    shadow = version("2")
    assert copies_of(shadow, [picture_bytes(seed=1)], share=0.4, draw=0.5).comparisons == []
    assert copies_of(shadow, [picture_bytes(seed=1)], share=0.6, draw=0.5).comparisons != []


def test_a_failing_shadow_is_counted_and_harms_nobody() -> None:
    """What goes wrong in a shadow is its own affair."""

    class Broken(FixedEngine):
        def predict(self, batch: np.ndarray, *, alone: bool = False) -> np.ndarray:
            raise RuntimeError("out of order")

    shadow = replace(version("2"), engine=Broken((1, 0)))
    assert copies_of(shadow, [picture_bytes(seed=1)]).losses == [("2", "failed")]


def test_copies_are_dropped_under_load() -> None:
    """While the pool has something else to do copies wait, a few at most."""
    pool, record, shadow = WorkPool(threads=1), Record(), version("2")
    asked = Prediction(model=version("1"), scores=rows((0, 1)), seconds=0.1, examples=[np.zeros((4, 4, 3), np.uint8)])
    pool._busy = 1

    async def ask() -> None:
        shadows = Shadows(pool, draw=lambda: 0.0)
        for _ in range(100):
            shadows.copy(asked, shadow, share=1.0, record=record)
        await asyncio.sleep(0)
        assert {result for _, result in record.losses} == {"dropped"}
        assert 0 < len(record.losses) < 100
        assert isinstance(shadow.engine, FixedEngine)
        assert shadow.engine.asked == 0
        pool.close()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))

    asyncio.run(ask())


def test_requests_go_before_copies() -> None:
    """A request that comes after a copy is answered before it."""
    order: list[str] = []

    class Noting(FixedEngine):
        def __init__(self, name: str) -> None:
            super().__init__((0, 1))
            self._name = name

        def predict(self, batch: np.ndarray, *, alone: bool = False) -> np.ndarray:
            order.append(self._name)
            return super().predict(batch)

    def noting(name: str) -> ServedModel:
        return replace(version("1"), engine=Noting(name))

    pool, pixels = WorkPool(threads=1), np.zeros((4, 4, 3), np.uint8)

    async def ask() -> None:
        copies = [asyncio.create_task(pool.predict_when_idle(noting("copy"), [pixels])) for _ in range(3)]
        requests = [asyncio.create_task(pool.predict(noting("request"), [pixels])) for _ in range(3)]
        with pool._wake:
            await asyncio.sleep(0)
        await asyncio.gather(*copies, *requests)

    asyncio.run(ask())
    pool.close()
    assert order == ["request"] * 3 + ["copy"] * 3


def test_each_kind_of_answer_agrees_in_its_own_way() -> None:
    """Likeliest labels by name, sets of labels given, numbers within a tenth of a deviation."""
    first, other = ScoreAnswers(("a", "b")), ScoreAnswers(("b", "c"))
    comparison = compare(version("1", answers=first), rows((0.1, 0.9)), version("2", answers=other), rows((0.8, 0.2)))
    assert comparison is not None
    assert (comparison.agrees.tolist(), comparison.differences) == ([True], None)

    labels = LabelAnswers(("a", "b"), np.asarray([0.5, 0.2], np.float32))
    comparison = compare(
        version("1", answers=labels),
        rows((0.6, 0.1), (0.6, 0.3)),
        version("2", answers=labels),
        rows((0.9, 0.0), (0, 1)),
    )
    assert comparison is not None
    assert comparison.agrees.tolist() == [True, False]

    numbers = NumberAnswers(("price",), [1000.0])
    comparison = compare(
        version("1", answers=numbers), rows((5000,), (5000,)), version("2", answers=numbers), rows((5090,), (5200,))
    )
    assert comparison is not None
    assert comparison.differences is not None
    assert comparison.agrees.tolist() == [True, False]
    assert comparison.differences.tolist() == pytest.approx([0.09, 0.2])
    assert compare(version("1", answers=labels), rows((1, 0)), version("2"), rows((1, 0))) is None


def test_a_copy_in_a_closed_pool_is_dropped() -> None:
    """Copies that wait when a replica goes do not hold it up."""
    pool = WorkPool(threads=1)
    pool._busy = 1

    async def ask() -> None:
        copy = asyncio.create_task(pool.predict_when_idle(version("1"), [np.zeros((4, 4, 3), np.uint8)]))
        await asyncio.sleep(0)
        pool.close()
        with pytest.raises(PoolFullError):
            await copy

    asyncio.run(ask())
