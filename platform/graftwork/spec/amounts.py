"""Times and amounts of memory as specs write them, and as programs count them. No I/O here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from graftwork.spec.base import DURATION_PATTERN

MEMORY_PATTERN = r"^[1-9][0-9]*(Mi|Gi|Ti)$"

Duration = Annotated[str, Field(pattern=DURATION_PATTERN)]
"""A time such as `90s`, `30m` or `2h`."""

Memory = Annotated[str, Field(pattern=MEMORY_PATTERN)]
"""An amount of memory such as `512Mi` or `4Gi`."""

_UNIT_S = {"s": 1, "m": 60, "h": 3600}
_UNIT_BYTES = {"Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}


def seconds_of(duration: str) -> int:
    """`90s`, `30m` or `2h` in seconds."""
    return int(duration[:-1]) * _UNIT_S[duration[-1]]


def bytes_of(memory: str) -> int:
    """`512Mi` or `4Gi` in bytes."""
    return int(memory[:-2]) * _UNIT_BYTES[memory[-2:]]
