"""A driver in a process of its own, to be killed: `python -m tests.integration.train.drive DATA_ROOT RUN_DIR`."""

from __future__ import annotations

import sys
from pathlib import Path

from graftwork.progress import SilentReporter
from graftwork.spec.fine_tune_job import Scaling
from graftwork_jobs.train.launch import train
from graftwork_jobs.train.local_ray import start_local_ray
from tests.integration.train.small_jobs import RECOVERY, SmallData, small_request


def main(data_root: Path, run_dir: Path) -> None:
    """Train the job of the recovery tests."""
    request = small_request(SmallData.at(data_root), run_dir, workers=2, **RECOVERY)
    reporter = SilentReporter()
    with start_local_ray(Scaling(workers=2), log_dir=run_dir / "logs", reporter=reporter):
        train(request, reporter)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
