"""What computes predictions. By itself, so that a replica needs no spec to know the word."""

from __future__ import annotations

from typing import Literal

EngineName = Literal["openvino", "jax"]
"""The spec's words for engines."""
