"""How a library's error goes into one of ours."""

from __future__ import annotations

_LIMIT = 200


def first_line(error: BaseException) -> str:
    """The first line of an error's text, shortened; its type if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:_LIMIT]
