"""Names of requests, by which what was right is told later. Pure."""

from __future__ import annotations

import re
import uuid
from typing import Final

HEADER: Final = "x-request-id"
"""Header (in gRPC, metadata) by which a client may name its request, and by which the answer says the name."""

_ALLOWED = re.compile(r"[!-~]{1,128}")


def request_id(given: str | None) -> str:
    """The client's name for its request, if it gave one that is printable and short; otherwise a new one."""
    return given if given is not None and _ALLOWED.fullmatch(given) else uuid.uuid4().hex
