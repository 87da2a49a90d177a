"""From the file a user names to the one job it holds."""

from __future__ import annotations

from pathlib import Path

from graftwork.errors import Problem, SpecError
from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork.spec.load import load_specs


def load_job(file: Path) -> tuple[FineTuneJob, Path]:
    """The one FineTuneJob in a spec file, and the folder its relative paths start at.

    Raises:
        SpecError: the file is wrong, or does not hold exactly one FineTuneJob.
    """
    jobs = [(spec.object, spec.base_dir) for spec in load_specs([file])]
    found = [(job, base_dir) for job, base_dir in jobs if isinstance(job, FineTuneJob)]
    if len(found) != 1:
        raise SpecError(
            Problem(
                file=str(file),
                where="kind",
                received=f"{len(found)} FineTuneJob documents",
                expected="exactly one",
                fix="Put each job into a file of its own." if found else "Name a file with a FineTuneJob.",
            )
        )
    return found[0]
