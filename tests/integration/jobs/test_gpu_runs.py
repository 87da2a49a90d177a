"""Jobs whose workers compute on an NVIDIA GPU, with JAX: `pytest -m gpu tests/integration`."""

from __future__ import annotations

import pytest

from graftwork_jobs.search.records import read_trials
from tests.integration.jobs.graft_home import GraftHome
from tests.integration.jobs.jax_jobs import JAX_TRAINING, run_on_jax, task_of
from tests.integration.jobs.text_jobs import TEXT_JOB, assert_adapters_learned, write_texts

pytest.importorskip("jax", reason="needs the extra jax")

pytestmark = [pytest.mark.integration, pytest.mark.gpu, pytest.mark.timeout(900)]

_TRIALS = 4


def test_a_gpu_trains_what_a_cpu_does(graft_home: GraftHome) -> None:
    """In float32 to the same figures within rounding, in bfloat16 (the default there) to near ones."""
    scaling, in_float32 = {"gpusPerWorker": 1}, {**JAX_TRAINING, "mixedPrecision": "none"}
    on_cpu = run_on_jax(graft_home, "cpu", training=in_float32).json
    exact = run_on_jax(graft_home, "gpu-exact", scaling=scaling, training=in_float32).json
    mixed = run_on_jax(graft_home, "gpu-mixed", scaling=scaling).json
    expected = on_cpu["metrics"]["loss"]
    assert exact["metrics"]["loss"] == pytest.approx(expected, rel=0.02)
    assert mixed["metrics"]["loss"] == pytest.approx(expected, rel=0.2)
    assert mixed["metrics"]["loss"] != exact["metrics"]["loss"]
    assert task_of(mixed["bundle"]) == "image-classification"


def test_texts_with_adapters_end_in_a_bundle(graft_home: GraftHome) -> None:
    """A transformer's layers, trained through low-rank matrices on the GPU."""
    write_texts(graft_home.work)
    training = {**TEXT_JOB["training"], "backend": "jax"}
    ended = run_on_jax(graft_home, "gpu-texts", **{**TEXT_JOB, "training": training, "scaling": {"gpusPerWorker": 1}})
    assert task_of(ended.json["bundle"]) == "text-classification"
    assert_adapters_learned(graft_home.runs("gpu-texts")[0].events_file)


def test_trials_share_a_gpu(graft_home: GraftHome) -> None:
    """Each gets its share of the memory, which JAX would else take for the first of them."""
    run_on_jax(
        graft_home,
        "gpu-search",
        scaling={"gpusPerWorker": 0.5},
        search={
            "space": {"head.dropout": {"choice": [0.0, 0.1, 0.2, 0.4]}},
            "trials": _TRIALS,
            "maxConcurrent": 2,
        },
    )
    trials = read_trials(graft_home.runs("gpu-search")[0].trials_dir)
    assert [trial.number for trial in trials] == list(range(_TRIALS))
    assert {trial.status for trial in trials} <= {"finished", "stopped"}
