"""One Ray and one set of pictures for all tests in here: starting Ray costs seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from graftwork.progress import SilentReporter
from graftwork_jobs.train.local_ray import start_local_ray
from tests.integration.train.small_jobs import SmallData, make_small_data

MOST_WORKERS = 3


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> SmallData:
    """Pictures, index and backbone."""
    return make_small_data(tmp_path_factory.mktemp("small"))


class SharedRay:
    """A Ray that lives from the first module that uses it to the end, or to a module that needs its place.

    A process can be connected to one Ray only.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._running = ExitStack()
        self._log_dir: Path | None = None
        self._starts = 0

    def log_dir(self) -> Path:
        """Start it if it does not run; gives the folder of its logs."""
        if self._log_dir is None:
            self._starts += 1
            self._log_dir = self._root / f"logs-{self._starts}"
            ray = start_local_ray(
                workers=MOST_WORKERS,
                cpus_per_worker=1,
                gpus_per_worker=0,
                log_dir=self._log_dir,
                reporter=SilentReporter(),
            )
            self._running.enter_context(ray)
        return self._log_dir

    def stop(self) -> None:
        """Make place."""
        self._log_dir = None
        self._running.close()


@pytest.fixture(scope="session")
def shared_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedRay]:
    """The Ray of this process, not yet started."""
    ray = SharedRay(tmp_path_factory.mktemp("ray"))
    yield ray
    ray.stop()


@pytest.fixture(scope="module")
def local_ray(shared_ray: SharedRay) -> Path:
    """A running Ray with room for three workers; gives the folder of its logs."""
    return shared_ray.log_dir()


@pytest.fixture(scope="module")
def no_local_ray(shared_ray: SharedRay) -> None:
    """No Ray in this process, for a module that brings its own."""
    shared_ray.stop()
