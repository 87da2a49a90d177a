"""The protocol-independent heart of an endpoint: which models there are, and how a request for one is answered.

Protocols turn their requests into `PredictionService.predict` and its `Prediction` into their responses.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graftwork.errors import RequestError
from graftwork.near_names import did_you_mean
from graftwork.preprocess.image import ImageError, ImageTooLargeError
from graftwork.preprocess.text import TextError
from graftwork_serving.served_model import ServedModel
from graftwork_serving.work_pool import PoolFullError, WorkPool

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
    """

    model: ServedModel
    scores: NDArray[np.float32]
    seconds: float


class PredictionService:
    """Models and the threads they share.

    Args:
        endpoint: the endpoint's name.
        models: by name; the first one is the default.
        pool: threads.
    """

    def __init__(self, *, endpoint: str, models: Sequence[ServedModel], pool: WorkPool) -> None:
        self.endpoint = endpoint
        self._models = {model.name: model for model in models}
        self._pool = pool

    @property
    def models(self) -> Mapping[str, ServedModel]:
        """Models by name, in the order of the spec."""
        return self._models

    @property
    def is_healthy(self) -> bool:
        """Whether requests can be answered."""
        return self._pool.is_alive

    def find(self, name: str | None = None, version: str | None = None) -> ServedModel:
        """The model a request names; the first one if it names none.

        Raises:
            RequestError: there is none (404).
        """
        if name is None:
            return next(iter(self._models.values()))
        model = self._models.get(name)
        if model is None:
            known = ", ".join(self._models)
            hint = did_you_mean(name, self._models) or f"Models here: {known}."
            raise RequestError(404, f"There is no model {name!r} at endpoint {self.endpoint!r}. {hint}")
        if version is not None and version != model.version:
            raise RequestError(
                404, f"Model {name!r} is served here in version {model.version!r}, not {version!r}. Use that version."
            )
        return model

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
        except ImageTooLargeError as error:
            raise RequestError(413, f"{_sentence(error)} Send a smaller picture.") from error
        except ImageError as error:
            raise RequestError(400, f"{_sentence(error)} Send a picture file such as JPEG, PNG or WebP.") from error
        except TextError as error:
            raise RequestError(400, f"{_sentence(error)} Send text in UTF-8.") from error
        except PoolFullError as error:
            raise OverloadedError(retry_after_s=1) from error
        return Prediction(model=model, scores=scores, seconds=time.perf_counter() - started)


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
