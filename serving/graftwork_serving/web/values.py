"""Values of a request's JSON as what a model's reader takes, and the words for what is wrong with them. Pure."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.errors import RequestError

_MAX_PIXEL = 255


def wrong(where: str, received: str, expected: str, fix: str) -> RequestError:
    """A refusal that names the field."""
    return RequestError(400, f"{where}: received {received}, expected {expected}. {fix}")


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"


def short(value: Any, limit: int = 60) -> str:
    """A JSON value, cut off."""
    text = json.dumps(value)
    return "nothing" if value is None else text if len(text) <= limit else f"{text[:limit]}..."


def parse_object(body: bytes, example: str) -> dict[str, Any]:
    """The JSON object that a body is.

    Args:
        body: of the request.
        example: of what to send.

    Raises:
        RequestError: it is something else (400).
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"The request body is no JSON document: {error}. Send {example}.") from error
    if not isinstance(document, dict):
        raise wrong("request body", kind_of(document), "a JSON object", f"Send {example}.")
    return document


def parameters_of(holder: dict[str, Any], where: str) -> dict[str, Any]:
    """The `parameters` of a request or of a part of it; many clients write null for what they leave out.

    Args:
        holder: the object that has them.
        where: their path, for errors.

    Raises:
        RequestError: they are no object (400).
    """
    given = holder.get("parameters")
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise wrong(where, kind_of(given), "an object", "Leave it out.")
    return given


def text_bytes(item: Any, where: str) -> bytes:
    """A text of a JSON document as the model's reader takes it.

    Raises:
        RequestError: it is no text, or empty (400).
    """
    if not isinstance(item, str):
        raise wrong(where, kind_of(item), "a string", "Send each text as a string.")
    if not item.strip():
        raise wrong(where, "an empty text", "some text", "Leave it out.")
    try:
        return item.encode()
    except UnicodeEncodeError as error:
        raise wrong(where, "half of a character (a lone surrogate)", "valid Unicode", "Send UTF-8.") from error


def text_of(item: bytes, where: str) -> str:
    """A text that came as bytes.

    Raises:
        RequestError: it is no UTF-8 (400).
    """
    try:
        return item.decode()
    except UnicodeDecodeError as error:
        raise wrong(where, f"no UTF-8 ({error.reason})", "a text", "Send UTF-8.") from error


def numbers(data: Any, where: str) -> NDArray[Any]:
    """A list of numbers, nested or flat.

    Raises:
        RequestError: it is something else (400).
    """
    if not isinstance(data, list):
        raise wrong(where, kind_of(data), "a list of numbers", "Send a flat or a nested list.")
    try:
        values = np.asarray(data)
    except (ValueError, OverflowError) as error:
        raise wrong(where, "a ragged list", "rows of equal length", "Make it fit the shape.") from error
    if values.dtype.kind not in "iuf":
        raise wrong(where, "something that is no number", "numbers only", "Send RGB pixels 0..255.")
    return values


def pixels(values: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Numbers as pixels, in the same shape.

    Raises:
        RequestError: some are no whole numbers 0..255 (400).
    """
    if values.dtype == np.uint8:
        return values
    fits = bool(((values >= 0) & (values <= _MAX_PIXEL)).all())  # false for NaN
    if not fits or (values.dtype.kind == "f" and not bool((values == np.floor(values)).all())):
        raise wrong(
            where,
            "values below 0, above 255 or with fractions",
            "whole numbers 0..255",
            "Send RGB pixels as they are; scaling is part of the model.",
        )
    return values.astype(np.uint8)
