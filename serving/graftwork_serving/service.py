"""The protocol-independent heart of an endpoint: which models there are, and how a request for one is answered.

Protocols turn their requests into `PredictionService.predict` and its `Prediction` into their responses.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graftwork.errors import RequestError
from graftwork.near_names import did_you_mean
from graftwork.preprocess.image import ImageError, ImageTooLargeError
from graftwork.preprocess.text import TextError
from graftwork_serving.access.callers import CALLER
from graftwork_serving.explain.waiting import ExplanationQueue
from graftwork_serving.routing import Arm, RoutedModel, route_models
from graftwork_serving.served_model import ServedModel
from graftwork_serving.work_pool import ExampleError, PoolFullError, WorkPool

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_EXAMPLES = 1024


class OverloadedError(Exception):
    """Too many requests wait; the client should try again.

    Attributes:
        retry_after_s: when.
    """

    def __init__(self, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__("Too many requests wait at this endpoint. Try again after the time in Retry-After.")


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What came out.

    Attributes:
        model: who answered.
        scores: shape (examples, labels), float32.
        seconds: from the request's acceptance to the last score.
        examples: what was asked about.
    """

    model: ServedModel
    scores: NDArray[np.float32]
    seconds: float
    examples: Sequence[bytes | NDArray[Any]] = ()


class PredictionService:
    """Models and the threads they share.

    Args:
        endpoint: the endpoint's name.
        arms: versions of models; the first name is the default.
        pool: threads.
        sticky_header: header by whose value clients keep to one version, in lower case; None for none.
        draw: random numbers, 0 <= x < 1, that share out requests without a sticky key.
        explains: whether it may be asked what answers rest on.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        arms: Sequence[Arm],
        pool: WorkPool,
        sticky_header: str | None = None,
        draw: Callable[[], float] = random.random,
        explains: bool = True,
    ) -> None:
        self.endpoint = endpoint
        self.sticky_header = sticky_header
        self.explains = explains
        self.explanations = ExplanationQueue()
        self._models = route_models(arms)
        self._pool = pool
        self._draw = draw

    @property
    def models(self) -> Mapping[str, RoutedModel]:
        """Models by name, in the order of the spec."""
        return self._models

    @property
    def is_healthy(self) -> bool:
        """Whether requests can be answered."""
        return self._pool.is_alive

    def model(self, name: str | None = None) -> RoutedModel:
        """The model a request names, all versions of it; the first one if it names none.

        Raises:
            RequestError: there is none (404).
        """
        if name is None:
            return next(iter(self._models.values()))
        model = self._models.get(name)
        if model is None:
            known = [each for each in self._models if CALLER.get().sees(each)]
            hint = did_you_mean(name, known) or (f"Models here: {', '.join(known)}." if known else "")
            raise RequestError(404, f"There is no model {name!r} at endpoint {self.endpoint!r}. {hint}".rstrip())
        return model

    def find(self, name: str | None = None, version: str | None = None, *, key: str | None = None) -> ServedModel:
        """The version that answers a request.

        Args:
            name: the model it names; the first one if it names none.
            version: the version it names, if any.
            key: the client's sticky key, if it has one.

        Raises:
            RequestError: there is none (404).
        """
        model = self.model(name)
        return self.choose(model, key=key) if version is None else model.version(version)

    def choose(self, model: RoutedModel, *, key: str | None) -> ServedModel:
        """The version of a model that answers a request which names none."""
        return model.choose(key, self._draw()).model

    async def predict(self, model: ServedModel, examples: Sequence[bytes | NDArray[Any]]) -> Prediction:
        """Score the examples of one request.

        Args:
            model: from `find`.
            examples: pictures as files or texts in UTF-8; or RGB pixels of the model's size, shape (height, width, 3),
                uint8.

        Raises:
            RequestError: an example cannot be used (400, 413, 415).
            OverloadedError: too many requests wait.
        """
        if not 1 <= len(examples) <= MAX_EXAMPLES:
            raise RequestError(
                400, f"The request holds {len(examples)} examples, expected 1 to {MAX_EXAMPLES}. Split or fill it."
            )
        started = time.perf_counter()
        try:
            scores = await self._pool.predict(model, examples)
        except ExampleError as error:
            raise _refused(error, examples=len(examples)) from error
        except PoolFullError as error:
            raise OverloadedError(retry_after_s=1) from error
        return Prediction(model=model, scores=scores, seconds=time.perf_counter() - started, examples=examples)


def _refused(error: ExampleError, *, examples: int) -> RequestError:
    """What a client hears of an example that cannot be used."""
    why = str(error)
    # As in the paths that other errors name: from 0.
    said = f"{why[:1].upper()}{why[1:]}." if examples == 1 else f"Example [{error.index}] of {examples}: {why}."
    match error.__cause__:
        case ImageTooLargeError():
            return RequestError(413, f"{said} Send a smaller picture.")
        case ImageError():
            return RequestError(400, f"{said} Send a picture file such as JPEG, PNG or WebP.")
        case TextError():
            return RequestError(400, f"{said} Send text in UTF-8.")
        case _:
            raise error
