"""The plain predict route: picture files in, answers out. Pure translation, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graftwork.errors import RequestError
from graftwork.near_names import did_you_mean
from graftwork_serving.service import Prediction
from graftwork_serving.web.messages import HttpRequest

DEFAULT_TOP = 5
_PARAMETERS = ("model", "version", "top", "explain", "label")
# What `curl --data-binary @cat.jpg` sends unless told otherwise; browsers never send pictures that way.
UNSPECIFIC_TYPES = frozenset(
    {"", "application/octet-stream", "application/x-www-form-urlencoded", "binary/octet-stream"}
)


@dataclass(frozen=True, kw_only=True)
class UploadedFile:
    """One input as it was sent.

    Attributes:
        name: the client's file name; empty if it gave none.
        data: content.
    """

    name: str
    data: bytes


def parse_files(request: HttpRequest) -> list[UploadedFile]:
    """The pictures of a request: the body itself, or the files of a form.

    Raises:
        RequestError: wrong content type (415), or a body without any file (400).
    """
    kind = request.content_type
    if kind == "multipart/form-data":
        return parse_form(request)
    if kind not in UNSPECIFIC_TYPES and not kind.startswith("image/"):
        raise RequestError(
            415,
            f"Content-Type {kind!r} is not supported here. Send a picture file as image/* or "
            "application/octet-stream, or several as multipart/form-data.",
        )
    if not request.body:
        raise RequestError(
            400, "The request body is empty. Send a picture file, for example with curl --data-binary @cat.jpg URL."
        )
    return [UploadedFile(name="", data=request.body)]


def refuse_misspelled(request: HttpRequest) -> None:
    """Refuse a query parameter whose name is nearly one of ours; others are left alone, as proxies add some.

    Raises:
        RequestError: there is one (400).
    """
    for name in request.query.keys() - set(_PARAMETERS):
        if question := did_you_mean(name, _PARAMETERS):
            raise RequestError(400, f"Query parameter {name[:40]!r} is not known here. {question}")


def parse_top(request: HttpRequest, *, labels: int) -> int:
    """How many labels the client wants (`?top=3`).

    Raises:
        RequestError: not a number from 1 on (400).
    """
    values = request.query.get("top")
    if values is None:
        return min(DEFAULT_TOP, labels)
    text = values[-1]
    if not (text.isascii() and text.isdigit()) or int(text[:9]) < 1:
        raise RequestError(400, f"Query parameter top: received {text[:40]!r}, expected an integer >= 1. Use ?top=5.")
    return min(int(text[:9]), labels)


def encode_prediction(prediction: Prediction, files: list[UploadedFile], *, top: int) -> dict[str, Any]:
    """The answer as JSON-ready values."""
    model = prediction.model
    return {
        "model": model.name,
        "version": model.version,
        "predictions": [
            model.answers.row(row, top=top) | ({"file": file.name} if file.name else {})
            for row, file in zip(prediction.scores, files, strict=True)
        ],
    }


def parse_form(request: HttpRequest) -> list[UploadedFile]:
    """The files of a form.

    Raises:
        RequestError: the form is malformed or holds no file (400).
    """
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    _, options = parse_options_header(request.headers[b"content-type"])
    boundary = options.get(b"boundary")
    if not boundary:
        raise RequestError(
            400, "Content-Type multipart/form-data lacks its boundary. Let the HTTP client set this header itself."
        )
    collector = _FormCollector(parse_options_header)
    try:
        parser = MultipartParser(boundary, collector.callbacks())
        parser.write(request.body)
        parser.finalize()
    except FormParserError as error:
        raise RequestError(400, f"The multipart body is malformed ({error}). Send it with an HTTP client.") from error
    if not collector.is_whole:
        # The parser keeps silent about it, and about the part that was cut off.
        raise RequestError(
            400, "The multipart body ends before its last boundary: a part of it is missing. Send it whole."
        )
    if not collector.files:
        raise RequestError(
            400, "The form holds no file. Add one or more, for example with curl -F file=@cat.jpg -F file=@dog.jpg URL."
        )
    return collector.files


class _FormCollector:
    """Collects the parts of a form that carry a file name or a picture; other fields are left alone."""

    def __init__(self, parse_options: Any) -> None:
        self.files: list[UploadedFile] = []
        self.is_whole = False
        self._parse_options = parse_options
        self._headers: dict[bytes, bytes] = {}
        self._name = b""
        self._value = b""
        self._data = bytearray()

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._part_data,
            "on_part_end": self._end,
            "on_end": self._close,
        }

    def _begin(self) -> None:
        self._headers, self._data = {}, bytearray()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def _end(self) -> None:
        _, options = self._parse_options(self._headers.get(b"content-disposition", b""))
        is_picture = self._headers.get(b"content-type", b"").lower().startswith(b"image/")
        if b"filename" in options or is_picture:
            name = options.get(b"filename", b"").decode("utf-8", errors="replace")
            self.files.append(UploadedFile(name=name, data=bytes(self._data)))

    def _close(self) -> None:
        self.is_whole = True
