"""Puts the page together from its parts, and the headers that let it do no more than it does."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from graftwork_serving.web.messages import HttpResponse

_PARTS: Final = Path(__file__).parent


@cache
def playground_page() -> HttpResponse:
    """The page, the same for every endpoint: what differs it asks the endpoint's routes for.

    Style and script stand in the document itself, for then the page works at an address without a final slash too,
    where a proxy that adds a path prefix may show it. The browser runs them because their digests are in the policy.
    """
    style, script = (_read(name) for name in ("page.css", "page.js"))
    document = _read("page.html").replace("/*style*/", style).replace("/*script*/", script)
    policy = [
        "default-src 'none'",
        f"script-src '{_digest(script)}'",
        f"style-src '{_digest(style)}'",
        "img-src blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ]
    return HttpResponse(
        body=document.encode(),
        content_type=b"text/html; charset=utf-8",
        headers=(
            (b"content-security-policy", "; ".join(policy).encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cache-control", b"no-cache"),
            (b"vary", b"accept"),
        ),
    )


def wants_page(accept: bytes) -> bool:
    """Whether a request's Accept header asks for a page, as browsers do, rather than for data."""
    kinds = (part.partition(b";")[0].strip().lower() for part in accept.split(b","))
    return b"text/html" in kinds


def _read(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    """A source expression of the Content Security Policy. Source: https://www.w3.org/TR/CSP3/#grammardef-hash-source."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
