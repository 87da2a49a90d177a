"""The plain predict route for texts: a text, several as JSON, or text files. Pure translation, no I/O."""

from __future__ import annotations

import json
import re
from typing import Any

from graftwork.errors import RequestError
from graftwork_serving.web.messages import HttpRequest
from graftwork_serving.web.plain import UNSPECIFIC_TYPES, UploadedFile, parse_form
from graftwork_serving.web.values import text_bytes

# How requests in JSON and fields of a form begin.
_JSON_START = re.compile(rb'\s*\{\s*"(?:text|instances)"')
_FORM_FIELD = re.compile(rb"(?:text|instances|inputs)=")
_UTF8 = frozenset({"", "utf-8", "utf8", "us-ascii", "ascii"})


def parse_texts(request: HttpRequest) -> list[UploadedFile]:
    """The texts of a request: the body itself, a JSON document, or the files of a form.

    Raises:
        RequestError: wrong content type or encoding (415), or no text (400).
    """
    kind = request.content_type
    if (charset := _charset(request)) not in _UTF8:
        raise RequestError(415, f"Text in {charset!r} is not supported. Send it as UTF-8.")
    match kind:
        case "multipart/form-data":
            return parse_form(request)
        case "application/json":
            return _texts_in(_parse_json(request.body))
        case "text/plain":
            pass
        case _ if kind not in UNSPECIFIC_TYPES:
            raise RequestError(
                415,
                f"Content-Type {kind!r} is not supported here. Send a text as text/plain, or several as "
                'application/json: {"instances": ["...", "..."]}.',
            )
    if not request.body.strip():
        raise RequestError(400, "The request body is empty. Send a text, such as with curl --data-binary 'text' URL.")
    if kind != "text/plain":
        if _JSON_START.match(request.body):
            # What curl sends of `-d '{"text": ...}'` is a form by its header.
            try:
                document = _parse_json(request.body)
            except RequestError:
                return [UploadedFile(name="", data=request.body)]  # a text that only begins so
            return _texts_in(document)
        if _FORM_FIELD.match(request.body):
            raise RequestError(
                415,
                "The request body looks like a form's fields (text=...), which are not read here. Send the text itself "
                'with curl --data-binary, or {"text": "..."}; a text that begins so, as Content-Type text/plain.',
            )
    return [UploadedFile(name="", data=request.body)]


def _charset(request: HttpRequest) -> str:
    """The charset the client states, in lower case; empty if none."""
    for parameter in request.headers.get(b"content-type", b"").decode("latin-1").split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()
    return ""


def _parse_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f'The request body is no JSON document: {error}. Send {{"text": "..."}}.') from error


def _texts_in(document: Any) -> list[UploadedFile]:
    match document:
        case {"text": text, **others} if not others:
            texts = [text_bytes(text, "text")]
        case {"instances": [*instances], **others} if instances and not others:
            texts = [text_bytes(_text_of(each), f"instances[{number}]") for number, each in enumerate(instances)]
        case _:
            raise RequestError(
                400,
                'The JSON document holds neither one "text" nor a list of "instances". '
                'Send {"text": "..."} or {"instances": ["...", "..."]}.',
            )
    return [UploadedFile(name="", data=text) for text in texts]


def _text_of(instance: Any) -> Any:
    """An instance may be the text itself or an object with it."""
    match instance:
        case {"text": text, **others} if not others:
            return text
        case _:
            return instance
