"""Jobs on JAX from the spec to the bundle: one that is killed and gone on with, a search, texts with adapters."""

from __future__ import annotations

import pytest

from graftwork_jobs.search.records import read_trials
from tests.integration.jobs.graft_home import GraftHome
from tests.integration.jobs.jax_jobs import JAX_TRAINING, run_on_jax, task_of
from tests.integration.jobs.text_jobs import TEXT_JOB, assert_adapters_learned, write_texts
from tests.integration.jobs.tiny_jobs import write_job

pytest.importorskip("jax", reason="needs the extra jax")

# Slow: five runs, each with a start of Ray.
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

_TRIALS = 3


def test_a_killed_run_ends_as_an_undisturbed_one(graft_home: GraftHome) -> None:
    """The driver dies in the second phase; the next one goes on and reaches the very same figures."""
    undisturbed = run_on_jax(graft_home, "jax-calm", scaling={"workers": 2})
    scaling = {"workers": 2, "checkpointEverySeconds": 1e-6}
    file = write_job(graft_home.work, "jax-killed", training=JAX_TRAINING, register=None, scaling=scaling)
    driver = graft_home.start("run", file)
    driver.wait_until(lambda: graft_home.epochs("jax-killed", "tune") >= 2)
    driver.process.kill()
    driver.ended()
    done = graft_home.epochs("jax-killed", "tune")
    assert done < graft_home.epochs("jax-calm", "tune")
    again = graft_home.graft("run", file, "-o", "json")
    assert again.code == 0, again.err
    assert again.json["metrics"] == undisturbed.json["metrics"]
    assert len(graft_home.runs("jax-killed")) == 1
    assert task_of(again.json["bundle"]) == "image-classification"


def test_a_search_ends_in_the_bundle_of_its_best_trial(graft_home: GraftHome) -> None:
    """All trials end; the bundle is that of the job trained with the best one's values."""
    search = {"space": {"head.dropout": {"choice": [0.0, 0.2, 0.4]}}, "trials": _TRIALS, "maxConcurrent": 2}
    ended = run_on_jax(graft_home, "jax-search", search=search)
    assert task_of(ended.json["bundle"]) == "image-classification"
    trials = read_trials(graft_home.runs("jax-search")[0].trials_dir)
    assert [trial.number for trial in trials] == list(range(_TRIALS))
    assert {trial.status for trial in trials} <= {"finished", "stopped"}


def test_texts_with_adapters_end_in_a_bundle(graft_home: GraftHome) -> None:
    """Adapters train on two workers and are merged."""
    write_texts(graft_home.work)
    ended = run_on_jax(graft_home, "jax-texts", **{**TEXT_JOB, "training": {**TEXT_JOB["training"], "backend": "jax"}})
    assert task_of(ended.json["bundle"]) == "text-classification"
    assert_adapters_learned(graft_home.runs("jax-texts")[0].events_file)
