"""One Ray and one set of pictures for all tests in here: starting Ray costs seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from graftwork.progress import SilentReporter
from graftwork.spec.fine_tune_job import Scaling
from graftwork_jobs.train.local_ray import start_local_ray
from tests.integration.train.small_jobs import SmallData, make_small_data

MOST_WORKERS = 3


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> SmallData:
    """Pictures, index and backbone."""
    return make_small_data(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def local_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running Ray with room for three workers; gives the folder of its logs."""
    log_dir = tmp_path_factory.mktemp("ray") / "logs"
    with start_local_ray(Scaling(workers=MOST_WORKERS), log_dir=log_dir, reporter=SilentReporter()):
        yield log_dir
