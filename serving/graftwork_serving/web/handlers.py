"""How each protocol's prediction requests are answered: read, find the model, parse, predict, encode."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from graftwork.errors import RequestError
from graftwork_serving.served_model import ServedModel
from graftwork_serving.service import Prediction, PredictionService
from graftwork_serving.web import binary_tensors, explanations, open_inference, plain, plain_text, tensorflow_serving
from graftwork_serving.web.messages import HttpRequest, HttpResponse, json_response
from graftwork_serving.web.open_inference import Examples
from graftwork_serving.web.routes import Route, RouteKind

_T = TypeVar("_T")
# JSON bodies above this size are parsed in a thread: a large tensor would stop the event loop for everyone.
LARGE_BODY_BYTES = 32 * 1024

Read = Callable[[], Awaitable[HttpRequest]]


@dataclass(kw_only=True)
class Outcome:
    """A prediction request on its way: who asks, and what is known of it for the metrics.

    Attributes:
        protocol: as metrics call it.
        key: the client's sticky key, if it has one.
        version: which version answers, once that is known.
        examples: how many it asks about.
        prediction: what came out, once it has.
        was_read: whether all of it has come.
        request_id: names it in the prediction log; empty without one.
    """

    protocol: str
    key: str | None = None
    version: ServedModel | None = None
    examples: int = 0
    prediction: Prediction | None = None
    was_read: bool = False
    request_id: str = ""

    @property
    def model(self) -> str:
        """Name of the model that answers; empty where that is not known."""
        return "" if self.version is None else self.version.name

    async def predict(self, service: PredictionService, model: ServedModel, examples: Examples) -> Prediction:
        """Score the request's examples; raises what `PredictionService.predict` does."""
        self.examples = len(examples)
        self.prediction = await service.predict(model, examples)
        return self.prediction


Handler = Callable[[PredictionService, Route, Read, Outcome], Awaitable[HttpResponse]]


async def answer_plain(service: PredictionService, route: Route, read: Read, outcome: Outcome) -> HttpResponse:
    """`POST /v1/endpoints/NAME/predict`."""
    if route.name != service.endpoint:
        raise RequestError(
            404, f"There is no endpoint {route.name!r} here. Use /v1/endpoints/{service.endpoint}/predict."
        )
    request = await read()
    plain.refuse_misspelled(request)
    outcome.version = model = service.find(request.last("model"), request.last("version"), key=outcome.key)
    top = plain.parse_top(request, labels=len(model.answers.labels))
    wanted = explanations.parse_wanted(service, model, request.last("explain"), request.last("label"))
    files = plain_text.parse_texts(request) if model.takes_text else plain.parse_files(request)
    as_png = wanted is not None and explanations.wants_png(request.headers.get(b"accept", b""))
    if as_png and len(files) > 1:
        raise RequestError(400, f"A PNG shows one picture; received {len(files)}. Send one, or ask for JSON.")
    prediction = await outcome.predict(service, model, [file.data for file in files])
    timing = (b"server-timing", f"predict;dur={1000 * prediction.seconds:.2f}".encode())
    answer = plain.encode_prediction(prediction, files, top=top)
    if wanted is not None:
        explained = await explanations.explain(service, model, [file.data for file in files], prediction.scores, wanted)
        if as_png:
            return await asyncio.to_thread(explanations.as_picture, explained[0][1], files[0].data, model)
        for row, file, (label, explanation) in zip(answer["predictions"], files, explained, strict=True):
            row["explanation"] = await asyncio.to_thread(explanations.encode, label, explanation, file.data, model)
    return json_response(answer, headers=(timing,))


async def answer_open_inference(service: PredictionService, route: Route, read: Read, outcome: Outcome) -> HttpResponse:
    """`POST /v2/models/NAME/infer`."""
    outcome.version = model = service.find(route.name, route.version, key=outcome.key)
    request = await read()
    parsed = await _off_loop(
        request, lambda: open_inference.parse_infer(request, model.reader.spec, tuple(model.answers.tensors()))
    )
    wanted = explanations.parse_wanted(service, model, parsed.explain, parsed.explain_label)
    prediction = await outcome.predict(service, model, parsed.examples)
    explained = await explanations.shares_of(service, prediction, parsed.examples, wanted)
    answer = open_inference.encode_infer(prediction, parsed, explained)
    response = json_response(answer.document)
    return response if answer.behind is None else _with_values(response, answer.behind)


async def answer_tensorflow_serving(
    service: PredictionService, route: Route, read: Read, outcome: Outcome
) -> HttpResponse:
    """`POST /v1/models/NAME:predict`, `:classify` and `:regress`."""
    routed = service.model(route.name)
    named = tensorflow_serving.find_version(routed, route.version, route.label)
    outcome.version = model = named or service.choose(routed, key=outcome.key)
    inputs, answers = model.reader.spec, model.answers
    if route.kind is RouteKind.CLASSIFY and not tensorflow_serving.can_classify(answers):
        raise RequestError(400, f"Model {model.name!r} gives numbers, not scores of labels. Use :predict.")
    if route.kind is RouteKind.REGRESS and not tensorflow_serving.can_regress(answers):
        raise RequestError(400, f"Model {model.name!r} does not give one number. Use :predict.")
    request = await read()
    if route.kind is RouteKind.ROWS_PREDICT:
        parsed = await _off_loop(request, lambda: tensorflow_serving.parse_predict(request.body, inputs, answers))
        prediction = await outcome.predict(service, model, parsed.examples)
        return json_response(tensorflow_serving.encode_predict(prediction, parsed))
    is_classify = route.kind is RouteKind.CLASSIFY
    signature = tensorflow_serving.CLASSIFY_SIGNATURE if is_classify else tensorflow_serving.REGRESS_SIGNATURE
    examples = await _off_loop(
        request, lambda: tensorflow_serving.parse_examples(request.body, inputs, signature=signature)
    )
    prediction = await outcome.predict(service, model, examples)
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
