"""A driver that trains on a running Ray cluster, in a process of its own: `python -m ...drive_cluster JSON`.

A process keeps the way it proves itself to Ray (with a token or without) for life, so the tests' own cannot do it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from graftwork.errors import GraftworkError
from graftwork.progress import SilentReporter
from graftwork_jobs.train.launch import train
from graftwork_jobs.train.ray_cluster import connected_ray
from tests.integration.train.small_jobs import SmallData, small_request


def main(order: dict[str, Any]) -> None:
    """Train what the order says."""
    data, run_dir = SmallData.at(Path(order["data"])), Path(order["run_dir"])
    request = small_request(data, run_dir, **order["spec"])
    request = replace(request, storage=order["storage"], run_name=order["run_name"])
    with connected_ray(order["address"], storage=request.storage):
        train(request, SilentReporter())


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except GraftworkError as error:
        sys.exit(str(error))
