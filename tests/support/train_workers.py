"""Which processes are Ray Train's workers."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import psutil


def train_workers(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those of some processes that train; one that has ended is none, also while nobody has asked how."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if "RayTrainWorker" in " ".join(process.cmdline()):
                found.append(process)
    return found
