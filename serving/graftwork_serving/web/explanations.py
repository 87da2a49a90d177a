"""`explain=cam` in requests: what is asked for, and what is answered. Protocols call this after the prediction."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from graftwork.errors import RequestError
from graftwork.near_names import did_you_mean
from graftwork.preprocess.image import ImageSpec
from graftwork_serving.explain.explainer import Explainer, Explanation, NoFeatureMapError
from graftwork_serving.explain.heat_map import heat_map, picture_with_heat_map
from graftwork_serving.explain.waiting import QueueFullError
from graftwork_serving.inputs import PictureReader
from graftwork_serving.service import OverloadedError, Prediction, PredictionService
from graftwork_serving.web.messages import HttpResponse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graftwork_serving.served_model import ServedModel

METHOD: Final = "cam"
_MOST_EXAMPLES = 16
_PNG: Final = b"image/png"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be explained.

    Attributes:
        explainer: of the model.
        column: the label's; None for each example's likeliest (or the first number).
    """

    explainer: Explainer
    column: int | None


def parse_wanted(service: PredictionService, model: ServedModel, explain: Any, label: Any) -> Wanted | None:
    """What a request wants explained, from its parameters; None for nothing.

    Raises:
        RequestError: this endpoint, this model or this label cannot be explained (400).
    """
    if explain is None:
        if label is not None:
            raise RequestError(
                400, f"label={str(label)[:60]!r} says what to explain. Add explain={METHOD}, or leave it out."
            )
        return None
    if explain != METHOD:
        raise RequestError(400, f"explain: received {str(explain)[:60]!r}, expected {METHOD!r}. Use explain={METHOD}.")
    if not service.explains:
        raise RequestError(400, "This endpoint explains no answers; its spec says explanations: none.")
    if model.explainer is None:
        raise RequestError(
            400, f"Model {model.name!r} has no heat maps; heat maps are for pictures. Leave explain out."
        )
    labels = model.answers.labels
    if label is not None and label not in labels:
        hint = did_you_mean(str(label), labels) or f"Labels: {', '.join(labels[:20])}."
        raise RequestError(400, f"label: received {str(label)[:60]!r}, which the model does not know. {hint}")
    return Wanted(explainer=model.explainer, column=None if label is None else labels.index(label))


async def explain(
    service: PredictionService,
    model: ServedModel,
    examples: Sequence[bytes | NDArray[Any]],
    scores: NDArray[np.float32],
    wanted: Wanted,
) -> list[tuple[str, Explanation]]:
    """Label and explanation of each example's answer.

    Raises:
        RequestError: the network has no feature map, or there are too many examples (400).
        OverloadedError: too many explanations wait.
    """
    if len(examples) > _MOST_EXAMPLES:
        raise RequestError(
            400, f"The request wants {len(examples)} explanations, at most {_MOST_EXAMPLES} at once. Split it."
        )
    likeliest = _columns(model, scores) if wanted.column is None else [wanted.column] * len(examples)

    def work() -> list[tuple[str, Explanation]]:
        pixels = [model.decode(each) if isinstance(each, bytes) else each for each in examples]
        return [
            (model.answers.labels[column], wanted.explainer.explain(each, column))
            for each, column in zip(pixels, likeliest, strict=True)
        ]

    try:
        return await service.explanations.run(work)
    except NoFeatureMapError as error:
        raise RequestError(
            400,
            f"Model {model.name!r} has no feature map to which its answers could be traced (vision transformers have "
            "none). Leave explain out.",
        ) from error
    except QueueFullError as error:
        raise OverloadedError(retry_after_s=1) from error


async def shares_of(
    service: PredictionService, prediction: Prediction, examples: Sequence[bytes | NDArray[Any]], wanted: Wanted | None
) -> NDArray[np.float32] | None:
    """What each example's answer rests on, shape (examples, rows, columns); None where nothing is wanted.

    Raises:
        RequestError: see `explain`.
        OverloadedError: see `explain`.
    """
    if wanted is None:
        return None
    found = await explain(service, prediction.model, examples, prediction.scores, wanted)
    return np.stack([explanation.shares for _, explanation in found])


def _columns(model: ServedModel, scores: NDArray[np.float32]) -> list[int]:
    """The likeliest label of each example; of numbers the first, for they have no order."""
    return [int(row.argmax()) for row in scores] if "scores" in model.answers.tensors() else [0] * len(scores)


def encode(label: str, explanation: Explanation, data: bytes, model: ServedModel) -> dict[str, Any]:
    """An explanation as JSON-ready values."""
    spec, max_pixels = _picture(model)
    return {
        "method": explanation.method,
        "label": label,
        "shares": [[float(f"{share:.5g}") for share in row] for row in explanation.shares],
        "heatmap": base64.b64encode(heat_map(explanation.shares, data, spec, max_pixels=max_pixels)).decode(),
    }


def wants_png(accept: bytes) -> bool:
    """Whether a request's Accept header asks for a PNG rather than JSON."""
    return accept.partition(b";")[0].strip().lower() == _PNG


def as_picture(explanation: Explanation, data: bytes, model: ServedModel) -> HttpResponse:
    """The picture under its heat map."""
    spec, max_pixels = _picture(model)
    body = picture_with_heat_map(explanation.shares, data, spec, max_pixels=max_pixels)
    return HttpResponse(body=body, content_type=_PNG)


def _picture(model: ServedModel) -> tuple[ImageSpec, int]:
    reader = model.reader
    if not isinstance(reader, PictureReader):
        raise TypeError(f"{model.name} takes no pictures")
    return reader.spec, reader.max_pixels
