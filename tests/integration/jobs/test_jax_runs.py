"""Jobs on JAX from the spec to the bundle: one that is killed and gone on with, a search, texts with adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from graftwork.bundle.directory import open_bundle
from graftwork_jobs.search.records import read_trials
from tests.integration.jobs.graft_home import Ended, GraftHome
from tests.integration.jobs.text_jobs import TEXT_JOB, assert_adapters_learned, write_texts
from tests.integration.jobs.tiny_jobs import write_job

pytest.importorskip("jax", reason="needs the extra jax")

# Slow: five runs, each with a start of Ray.
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

_TRAINING: dict[str, Any] = {"backend": "jax", "batchSize": 4, "seed": 5}
_TRIALS = 3


def _run(graft_home: GraftHome, name: str, **spec: Any) -> Ended:
    file = write_job(graft_home.work, name, **{"training": _TRAINING, "register": None, **spec})
    ended = graft_home.graft("run", file, "-o", "json")
    assert ended.code == 0, ended.err
    return ended


def _tasks_of(bundle: str) -> str:
    """What a bundle that is whole does."""
    return open_bundle(Path(bundle)).manifest.task


def test_a_killed_run_ends_as_an_undisturbed_one(graft_home: GraftHome) -> None:
    """The driver dies in the second phase; the next one goes on and reaches the very same figures."""
    undisturbed = _run(graft_home, "jax-calm", scaling={"workers": 2})
    scaling = {"workers": 2, "checkpointEverySeconds": 1e-6}
    file = write_job(graft_home.work, "jax-killed", training=_TRAINING, register=None, scaling=scaling)
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
    assert _tasks_of(again.json["bundle"]) == "image-classification"


def test_a_search_ends_in_the_bundle_of_its_best_trial(graft_home: GraftHome) -> None:
    """All trials end; the bundle is that of the job trained with the best one's values."""
    search = {"space": {"head.dropout": {"choice": [0.0, 0.2, 0.4]}}, "trials": _TRIALS, "maxConcurrent": 2}
    ended = _run(graft_home, "jax-search", search=search)
    assert _tasks_of(ended.json["bundle"]) == "image-classification"
    trials = read_trials(graft_home.runs("jax-search")[0].trials_dir)
    assert [trial.number for trial in trials] == list(range(_TRIALS))
    assert {trial.status for trial in trials} <= {"finished", "stopped"}


def test_texts_with_adapters_end_in_a_bundle(graft_home: GraftHome) -> None:
    """Adapters train on two workers and are merged."""
    write_texts(graft_home.work)
    ended = _run(graft_home, "jax-texts", **{**TEXT_JOB, "training": {**TEXT_JOB["training"], "backend": "jax"}})
    assert _tasks_of(ended.json["bundle"]) == "text-classification"
    assert_adapters_learned(graft_home.runs("jax-texts")[0].events_file)
