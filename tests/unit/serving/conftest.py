"""What tests of several protocols share."""

from __future__ import annotations

import pytest

from graftwork.metrics import ServingMetrics


@pytest.fixture(scope="session")
def metrics() -> ServingMetrics:
    """A process keeps each series once."""
    return ServingMetrics()
