"""Copies of requests for shadow versions: made after the answer has gone, done when idle, compared, never sent."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from graftwork.errors import GraftworkError
from graftwork_serving.comparison import Comparison, compare
from graftwork_serving.work_pool import PoolFullError

if TYPE_CHECKING:
    from graftwork_serving.served_model import ServedModel
    from graftwork_serving.service import Prediction
    from graftwork_serving.work_pool import WorkPool

_LOGGER = logging.getLogger(__name__)


class ShadowRecord(Protocol):
    """Takes what came of copies; called on the event loop."""

    def compared(self, shadow: ServedModel, comparison: Comparison, seconds: float) -> None:
        """A shadow said something that can be compared with the answer."""
        ...

    def lost(self, shadow: ServedModel, examples: int, result: str) -> None:
        """Nothing can be compared: the copy was `dropped` under load, `failed`, or is `incomparable`."""
        ...


class Shadows:
    """Sends copies.

    Args:
        pool: threads.
        draw: random numbers, 0 <= x < 1, that decide which requests are copied.
    """

    def __init__(self, pool: WorkPool, draw: Callable[[], float] = random.random) -> None:
        self._pool = pool
        self._draw = draw
        self._tasks: set[asyncio.Task[None]] = set()

    def copy(self, prediction: Prediction, shadow: ServedModel, *, share: float, record: ShadowRecord) -> None:
        """Give a version its copy of a request that another one has answered.

        Args:
            prediction: the answer.
            shadow: the version.
            share: of requests it gets copies of.
            record: told what came of the copy.
        """
        if shadow is not prediction.model and self._draw() < share:
            task = asyncio.get_running_loop().create_task(self._ask(prediction, shadow, record))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, prediction: Prediction, shadow: ServedModel, record: ShadowRecord) -> None:
        examples = prediction.examples
        if not _takes(shadow, prediction.model, examples):
            record.lost(shadow, len(examples), "incomparable")
            return
        started = time.perf_counter()
        try:
            scores = await self._pool.predict_when_idle(shadow, examples)
            comparison = compare(prediction.model, prediction.scores, shadow, scores)
        except PoolFullError:
            record.lost(shadow, len(examples), "dropped")
        except (GraftworkError, RuntimeError, ValueError) as error:
            _LOGGER.warning("Shadow %s %s failed: %s", shadow.name, shadow.version, error)
            record.lost(shadow, len(examples), "failed")
        else:
            if comparison is None:
                record.lost(shadow, len(examples), "incomparable")
            else:
                record.compared(shadow, comparison, time.perf_counter() - started)


def _takes(shadow: ServedModel, model: ServedModel, examples: Sequence[Any]) -> bool:
    """Whether a shadow can read examples that another version took: pixels only of its own size, texts no pictures."""
    are_raw = all(isinstance(example, bytes) for example in examples)
    return shadow.reader.spec == model.reader.spec or (are_raw and shadow.takes_text == model.takes_text)
