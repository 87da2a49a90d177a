"""The example job, with changes."""

from __future__ import annotations

import copy
from typing import Any

from graftwork.spec.fine_tune_job import FineTuneJob
from tests.unit.spec.examples import JOB


def job_with(**spec: Any) -> FineTuneJob:
    """The example job with some sections of its spec replaced."""
    content = copy.deepcopy(JOB)
    content["spec"].update(spec)
    return FineTuneJob.model_validate(content)
