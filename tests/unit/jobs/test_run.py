from __future__ import annotations

from graftwork_jobs.run import on_random_weights
from tests.unit.jobs.example_jobs import job_with


def test_random_weights_change_nothing_else() -> None:
    """The counterpart of a job differs in the backbone's weights only, and the job itself stays as it was."""
    job = job_with()
    before = job.model_dump()
    counterpart = on_random_weights(job).model_dump()
    assert counterpart["spec"]["backbone"]["weights"] == "none"
    counterpart["spec"]["backbone"]["weights"] = before["spec"]["backbone"]["weights"]
    assert counterpart == before
    assert job.model_dump() == before
