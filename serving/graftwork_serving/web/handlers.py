"""How each protocol's prediction requests are answered: read, find the model, parse, predict, encode."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from graftwork.errors import RequestError
from graftwork_serving.service import PredictionService
from graftwork_serving.web import binary_tensors, open_inference, plain, plain_text, tensorflow_serving
from graftwork_serving.web.messages import HttpRequest, HttpResponse, json_response
from graftwork_serving.web.routes import Route, RouteKind

_T = TypeVar("_T")
# JSON bodies above this size are parsed in a thread: a large tensor would stop the event loop for everyone.
LARGE_BODY_BYTES = 32 * 1024

Read = Callable[[], Awaitable[HttpRequest]]


@dataclass(kw_only=True)
class Outcome:
    """What is known of a prediction request for the metrics."""

    protocol: str
    model: str = ""
    examples: int = 0


Handler = Callable[[PredictionService, Route, Read, Outcome], Awaitable[HttpResponse]]


async def answer_plain(service: PredictionService, route: Route, read: Read, outcome: Outcome) -> HttpResponse:
    """`POST /v1/endpoints/NAME/predict`."""
    if route.name != service.endpoint:
        raise RequestError(
            404, f"There is no endpoint {route.name!r} here. Use /v1/endpoints/{service.endpoint}/predict."
        )
    request = await read()
    model = service.find(request.query["model"][-1] if "model" in request.query else None)
    outcome.model = model.name
    top = plain.parse_top(request, labels=len(model.answers.labels))
    files = plain_text.parse_texts(request) if model.takes_text else plain.parse_files(request)
    outcome.examples = len(files)
    prediction = await service.predict(model, [file.data for file in files])
    return json_response(plain.encode_prediction(prediction, files, top=top))


async def answer_open_inference(service: PredictionService, route: Route, read: Read, outcome: Outcome) -> HttpResponse:
    """`POST /v2/models/NAME/infer`."""
    model = service.find(route.name, route.version)
    outcome.model = model.name
    request = await read()
    parsed = await _off_loop(
        request, lambda: open_inference.parse_infer(request, model.reader.spec, tuple(model.answers.tensors()))
    )
    outcome.examples = len(parsed.examples)
    prediction = await service.predict(model, parsed.examples)
    answer = open_inference.encode_infer(prediction, parsed)
    response = json_response(answer.document)
    return response if answer.behind is None else _with_values(response, answer.behind)


async def answer_tensorflow_serving(
    service: PredictionService, route: Route, read: Read, outcome: Outcome
) -> HttpResponse:
    """`POST /v1/models/NAME:predict`, `:classify` and `:regress`."""
    model = service.find(route.name)
    outcome.model = model.name
    tensorflow_serving.find_version(model, route.version, route.label)
    inputs, answers = model.reader.spec, model.answers
    if route.kind is RouteKind.CLASSIFY and not tensorflow_serving.can_classify(answers):
        raise RequestError(400, f"Model {model.name!r} gives numbers, not scores of labels. Use :predict.")
    if route.kind is RouteKind.REGRESS and not tensorflow_serving.can_regress(answers):
        raise RequestError(400, f"Model {model.name!r} does not give one number. Use :predict.")
    request = await read()
    if route.kind is RouteKind.ROWS_PREDICT:
        parsed = await _off_loop(request, lambda: tensorflow_serving.parse_predict(request.body, inputs, answers))
        outcome.examples = len(parsed.examples)
        prediction = await service.predict(model, parsed.examples)
        return json_response(tensorflow_serving.encode_predict(prediction, parsed))
    is_classify = route.kind is RouteKind.CLASSIFY
    signature = tensorflow_serving.CLASSIFY_SIGNATURE if is_classify else tensorflow_serving.REGRESS_SIGNATURE
    examples = await _off_loop(
        request, lambda: tensorflow_serving.parse_examples(request.body, inputs, signature=signature)
    )
    outcome.examples = len(examples)
    prediction = await service.predict(model, examples)
    encode = tensorflow_serving.encode_classify if is_classify else tensorflow_serving.encode_regress
    return json_response(encode(prediction))


HANDLERS: Final[Mapping[RouteKind, tuple[str, Handler]]] = {
    RouteKind.PREDICT: ("plain", answer_plain),
    RouteKind.INFER: ("v2", answer_open_inference),
    RouteKind.ROWS_PREDICT: ("tensorflow-serving", answer_tensorflow_serving),
    RouteKind.CLASSIFY: ("tensorflow-serving", answer_tensorflow_serving),
    RouteKind.REGRESS: ("tensorflow-serving", answer_tensorflow_serving),
}
"""Which protocol a prediction request belongs to (as metrics call it), and what answers it."""


def _with_values(head: HttpResponse, behind: bytes) -> HttpResponse:
    """JSON with values behind it."""
    length = str(len(head.body)).encode()
    return HttpResponse(
        body=head.body + behind,
        content_type=binary_tensors.CONTENT_TYPE,
        headers=((binary_tensors.LENGTH_HEADER, length),),
    )


async def _off_loop(request: HttpRequest, function: Callable[[], _T]) -> _T:
    if len(request.body) < LARGE_BODY_BYTES:
        return function()
    return await asyncio.to_thread(function)
