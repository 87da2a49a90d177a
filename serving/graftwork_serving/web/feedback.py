"""`POST /v1/endpoints/NAME/feedback`: what was right, told after a prediction. Pure translation."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from graftwork.errors import RequestError
from graftwork_serving.prediction_log.rows import Feedback
from graftwork_serving.web.values import kind_of, parse_object, short, wrong

MOST_ROWS = 1024
_EXAMPLE = '{"requestId": "...", "label": "rose"}'
_KINDS = ("label", "labels", "values")
_KEYS = frozenset({"requestId", "example", *_KINDS})


def parse_feedback(body: bytes, now: datetime) -> list[Feedback]:
    """What a request tells: one object, or several as `{"feedback": [...]}`.

    Raises:
        RequestError: anything about it is wrong (400).
    """
    document = parse_object(body, _EXAMPLE)
    if "feedback" not in document:
        return [_parse_row(document, "", now)]
    rows = document["feedback"]
    if len(document) > 1:
        raise wrong(
            "request body", f"keys {short(sorted(document))}", 'the key "feedback" alone', "Leave the others out."
        )
    if not isinstance(rows, list) or not 1 <= len(rows) <= MOST_ROWS:
        received = f"{len(rows)} entries" if isinstance(rows, list) else kind_of(rows)
        raise wrong("feedback", received, f"a list of 1 to {MOST_ROWS} objects", f"Send {_EXAMPLE} for each.")
    return [_parse_row(row, f"feedback[{index}].", now) for index, row in enumerate(rows)]


def _parse_row(row: Any, where: str, now: datetime) -> Feedback:
    if not isinstance(row, dict):
        raise wrong(where.removesuffix("."), kind_of(row), "an object", f"Send {_EXAMPLE}.")
    if unknown := sorted(set(row) - _KEYS):
        raise wrong(f"{where}{unknown[0]}"[:80], "an unknown key", ", ".join(sorted(_KEYS)), f"Send {_EXAMPLE}.")
    given = [kind for kind in _KINDS if row.get(kind) is not None]
    if len(given) != 1:
        received = " and ".join(given) or "none of them"
        raise wrong(f"{where}label", received, "one of label, labels and values", f"Send {_EXAMPLE}.")
    name, example = row.get("requestId"), row.get("example", 0)
    if not isinstance(name, str) or not name:
        raise wrong(f"{where}requestId", short(name), "the X-Request-Id of the answer", "Keep it with the answer.")
    if type(example) is not int or not 0 <= example < 2**31:
        raise wrong(f"{where}example", short(example), "a position from 0 on", "Leave it out where there was one.")
    return Feedback(
        time=now,
        request_id=_text(name, f"{where}requestId"),
        example=example,
        label=_label(row, where),
        labels=_labels(row, where),
        values=_values(row, where),
    )


def _label(row: dict[str, Any], where: str) -> str | None:
    label = row.get("label")
    return None if label is None else _text(label, f"{where}label")


def _labels(row: dict[str, Any], where: str) -> tuple[str, ...] | None:
    labels = row.get("labels")
    if labels is None:
        return None
    if not isinstance(labels, list):
        raise wrong(f"{where}labels", kind_of(labels), "a list of labels", "Send [] where none is right.")
    return tuple(_text(label, f"{where}labels[{index}]") for index, label in enumerate(labels))


def _values(row: dict[str, Any], where: str) -> dict[str, float] | None:
    values = row.get("values")
    if values is None:
        return None
    if not isinstance(values, dict) or not all(type(value) in {int, float} for value in values.values()):
        raise wrong(f"{where}values", short(values), "numbers by their names", 'Send {"height": 1.5}.')
    try:
        numbers = {_text(name, f"{where}values"): float(value) for name, value in values.items()}
    except OverflowError as error:
        raise wrong(f"{where}values", "a number too large", "numbers as in JSON", "Check it.") from error
    if not all(map(math.isfinite, numbers.values())):
        raise wrong(f"{where}values", short(values), "ordinary numbers", "Leave out those that are not known.")
    return numbers


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise wrong(where, kind_of(value), "a string", "Quote it.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise wrong(where, "half of a character (a lone surrogate)", "valid Unicode", "Send UTF-8.") from error
    return value


def no_log(endpoint: str) -> RequestError:
    """Feedback cannot be taken here."""
    return RequestError(
        404, f"Endpoint {endpoint!r} keeps no predictions to compare with. Set spec.predictionLog to keep them."
    )
