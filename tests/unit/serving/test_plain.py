from __future__ import annotations

import pytest

from graftwork.errors import RequestError
from graftwork_serving.web.messages import HttpRequest
from graftwork_serving.web.plain import parse_files, parse_top, refuse_misspelled

FORM = (
    b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\nAAA\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="b c.png"\r\n\r\n\r\nB\r\n--b--\r\n'
)


def request(body: bytes, content_type: str | None = None, **query: str) -> HttpRequest:
    headers = {} if content_type is None else {b"content-type": content_type.encode()}
    return HttpRequest(query={name: [value] for name, value in query.items()}, headers=headers, body=body)


@pytest.mark.parametrize(
    "content_type",
    [None, "image/jpeg", "IMAGE/PNG; q=1", "application/octet-stream", "application/x-www-form-urlencoded"],
)
def test_the_body_is_the_picture(content_type: str | None) -> None:
    """What curl and browsers send for a file is taken as the file."""
    assert [file.data for file in parse_files(request(b"JPEG", content_type))] == [b"JPEG"]


def test_a_forms_files_are_the_pictures() -> None:
    """All files of a form are taken, in order, byte for byte; other fields are left alone."""
    files = parse_files(request(FORM, "multipart/form-data; boundary=b"))
    assert [(file.name, file.data) for file in files] == [("a.jpg", b"AAA"), ("b c.png", b"\r\nB")]


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"", "image/jpeg", 400),
        (b"{}", "application/json", 415),
        (b"x", "text/html", 415),
        (FORM, "multipart/form-data", 400),
        (FORM[:90], "multipart/form-data; boundary=b", 400),
        (b"garbage", "multipart/form-data; boundary=b", 400),
        (b"--b--\r\n", "multipart/form-data; boundary=b", 400),
    ],
)
def test_bodies_without_a_picture_are_refused(body: bytes, content_type: str, status: int) -> None:
    """The status tells a wrong type from a wrong body."""
    with pytest.raises(RequestError) as refused:
        parse_files(request(body, content_type))
    assert refused.value.status == status


@pytest.mark.parametrize("cut", [1, 3, 5, 10, 25, 100])
def test_a_form_that_was_cut_off_is_refused(cut: int) -> None:
    """Not answered for the files that came whole: the others would be lost without a word."""
    whole = FORM.removesuffix(b"\r\n")
    assert len(parse_files(request(whole, "multipart/form-data; boundary=b"))) == 2
    with pytest.raises(RequestError, match=r"ends before its last boundary.*Send it whole"):
        parse_files(request(whole[:-cut], "multipart/form-data; boundary=b"))


@pytest.mark.parametrize(("text", "expected"), [("1", 1), ("3", 3), ("99", 10), ("9" * 5000, 10)])
def test_top_is_bounded_by_the_labels(text: str, expected: int) -> None:
    """More labels than there are means all."""
    assert parse_top(request(b"", top=text), labels=10) == expected


@pytest.mark.parametrize("text", ["0", "-1", "x", "", "1.5", "²"])
def test_a_top_that_is_no_count_is_refused(text: str) -> None:
    """Only whole numbers from 1 on are counts."""
    with pytest.raises(RequestError, match="top"):
        parse_top(request(b"", top=text), labels=10)


def test_a_misspelled_parameter_is_refused() -> None:
    """It would otherwise have no effect, without a word; what others add to a URL is left alone."""
    with pytest.raises(RequestError, match=r"'modle' is not known here\. Did you mean `model`\?"):
        refuse_misspelled(request(b"", modle="cats"))
    refuse_misspelled(request(b"", model="cats", top="3", utm_source="mail"))
