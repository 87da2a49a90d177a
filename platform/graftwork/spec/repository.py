"""Registered models that an endpoint loads when they are asked for. No I/O here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from graftwork.spec.amounts import Memory
from graftwork.spec.base import MODEL_PATTERN, Alias, SpecModel


class Repository(SpecModel):
    """Which registered models may be loaded while the endpoint runs.

    They are loaded by the Open Inference Protocol's model repository calls, or by the first request for one, which
    waits. Each replica loads for itself.
    """

    models: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=63, pattern=MODEL_PATTERN)]], Field(min_length=1)
    ]
    """Names of registered models; `*` stands for any characters, as in `flowers-*`."""
    alias: Alias = "champion"
    """Alias whose version is loaded; models without it are not offered. Followed as `rollout.followAliases` says."""
    memory: Memory = "1Gi"
    """What models loaded this way may take in each replica, about; beyond it those asked for longest ago are let go. A
    trunk that several share counts once."""
