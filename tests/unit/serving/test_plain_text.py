"""Texts as clients send them to the plain predict route."""

from __future__ import annotations

import pytest

from graftwork.errors import RequestError
from graftwork_serving.web.messages import HttpRequest
from graftwork_serving.web.plain_text import parse_texts

FORM_TYPE = "application/x-www-form-urlencoded"


def texts(body: bytes, content_type: str | None = None) -> list[bytes]:
    headers = {} if content_type is None else {b"content-type": content_type.encode()}
    return [file.data for file in parse_texts(HttpRequest(query={}, headers=headers, body=body))]


@pytest.mark.parametrize("content_type", [None, "text/plain", FORM_TYPE, "application/octet-stream"])
def test_the_body_is_the_text(content_type: str | None) -> None:
    """Also one that begins like JSON or speaks of texts."""
    for body in (b"lovely", b"{so} lovely", b'{"title": "lovely"}', b'{"text": "unfinished', b"the text=lovely"):
        assert texts(body, content_type) == [body]


@pytest.mark.parametrize("content_type", ["application/json", None, FORM_TYPE])
def test_json_is_json_whatever_curl_calls_it(content_type: str | None) -> None:
    """`curl -d '{"text": ...}'` names the type of a form; the braces are no part of the text."""
    assert texts(b' {"text": "lovely"}', content_type) == [b"lovely"]
    assert texts(b'{"instances": ["a", {"text": "b"}]}', content_type) == [b"a", b"b"]
    with pytest.raises(RequestError, match="neither one"):
        texts(b'{"text": "a", "more": 1}', content_type)


def test_plain_text_stays_what_it_is() -> None:
    """Whoever classifies JSON says so."""
    assert texts(b'{"text": "lovely"}', "text/plain") == [b'{"text": "lovely"}']
    assert texts(b"text=lovely", "text/plain") == [b"text=lovely"]


def test_fields_of_a_form_are_refused() -> None:
    """They come percent-encoded; the model would classify that."""
    with pytest.raises(RequestError, match="curl --data-binary") as refused:
        texts(b"text=so%20lovely", FORM_TYPE)
    assert refused.value.status == 415
