"""What tests share that train in their own process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def on_this_machine() -> Iterator[None]:
    """Worker and driver are this process; there is no Ray to ask where they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graftwork_jobs.train.driver_files.this_node", lambda: "")
        yield
