"""Web pages of other origins that may ask the endpoint from a browser (CORS).

Source: https://fetch.spec.whatwg.org/#http-cors-protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from graftwork_serving.prediction_log.ids import HEADER as REQUEST_ID
from graftwork_serving.web.binary_tensors import LENGTH_HEADER

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_METHODS: Final = ("GET", "POST")
# Of an answer, what scripts may read beside the headers that they always may.
_READABLE: Final = (REQUEST_ID, LENGTH_HEADER.decode(), "retry-after", "server-timing", "www-authenticate")


def for_pages_of(origins: Sequence[str], app: ASGIApp) -> ASGIApp:
    """The application as pages of some origins may ask it; no cookies, which no endpoint takes.

    Args:
        origins: as browsers send them, or `*`; none leaves the application as it is.
        app: answers.
    """
    if not origins:
        return app
    from starlette.middleware.cors import CORSMiddleware

    return CORSMiddleware(
        app, allow_origins=origins, allow_methods=_METHODS, allow_headers=("*",), expose_headers=_READABLE
    )
