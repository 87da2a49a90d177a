"""Numbers that engines compute in. By itself, so that a replica needs no spec to know the word."""

from __future__ import annotations

from typing import Literal

Precision = Literal["float32", "bfloat16"]
"""The spec's words for them."""
