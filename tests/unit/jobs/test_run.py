from __future__ import annotations

from graftwork_jobs.run import on_random_weights
from tests.unit.jobs.example_jobs import job_with


def test_random_weights_change_nothing_else() -> None:
    """The counterpart differs in the backbone's weights, and in that its workers, compared before, are not compared."""
    job = job_with()
    before = job.model_dump()
    counterpart = on_random_weights(job).model_dump()
    assert counterpart["spec"]["backbone"]["weights"] == "none"
    assert counterpart["spec"]["scaling"]["preflight"] == "none"
    counterpart["spec"]["backbone"]["weights"] = before["spec"]["backbone"]["weights"]
    counterpart["spec"]["scaling"]["preflight"] = before["spec"]["scaling"]["preflight"]
    assert counterpart == before
    assert job.model_dump() == before
