"""Small pictures on disk for tests of the data layer."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from graftwork.progress import SilentReporter
from graftwork.spec.fine_tune_job import Data
from graftwork_jobs.data.scan import DataScan, scan_data

LONG_AGO_S = 1_600_000_000


def write_picture(path: Path, number: int) -> Path:
    """A little noise picture that differs for every number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    os.utime(path, (LONG_AGO_S, LONG_AGO_S))
    return path


def write_folder(root: Path, counts: Mapping[str, int], *, first: int = 0) -> Path:
    """An image folder with that many pictures a class, all different; numbers go on from `first`."""
    number = first
    for label, count in counts.items():
        (root / label).mkdir(parents=True, exist_ok=True)
        for position in range(count):
            write_picture(root / label / f"{position:03}.png", number)
            number += 1
    return root


def scan(base_dir: Path, *, seed: int = 0, slices: Sequence[str] = (), **data: Any) -> DataScan:
    """Scan data given as in YAML, with the cache below `base_dir`."""
    return scan_data(
        Data.model_validate(data),
        base_dir=base_dir,
        cache_dir=base_dir / "cache",
        seed=seed,
        reporter=SilentReporter(),
        slices=slices,
    )
