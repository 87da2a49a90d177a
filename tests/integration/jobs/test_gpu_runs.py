"""Jobs whose workers compute on an NVIDIA GPU, with JAX: `pytest -m gpu tests/integration`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from graftwork.bundle.directory import open_bundle
from graftwork_jobs.search.records import read_trials
from tests.integration.jobs.graft_home import GraftHome
from tests.integration.jobs.text_jobs import TEXT_JOB, assert_adapters_learned, write_texts
from tests.integration.jobs.tiny_jobs import write_job

pytest.importorskip("jax", reason="needs the extra jax")

pytestmark = [pytest.mark.integration, pytest.mark.gpu, pytest.mark.timeout(900)]

_TRAINING: dict[str, Any] = {"backend": "jax", "batchSize": 4, "seed": 5}
_TRIALS = 4


def _run(graft_home: GraftHome, name: str, **spec: Any) -> Any:
    file = write_job(graft_home.work, name, **{"training": _TRAINING, "register": None, **spec})
    ended = graft_home.graft("run", file, "-o", "json")
    assert ended.code == 0, ended.err
    return ended.json


def test_a_gpu_trains_what_a_cpu_does(graft_home: GraftHome) -> None:
    """In float32 to the same figures within rounding, in bfloat16 (the default there) to near ones."""
    on_cpu = _run(graft_home, "cpu", training={**_TRAINING, "mixedPrecision": "none"})
    scaling = {"gpusPerWorker": 1}
    exact = _run(graft_home, "gpu-exact", scaling=scaling, training={**_TRAINING, "mixedPrecision": "none"})
    mixed = _run(graft_home, "gpu-mixed", scaling=scaling)
    expected = on_cpu["metrics"]["loss"]
    assert exact["metrics"]["loss"] == pytest.approx(expected, rel=0.02)
    assert mixed["metrics"]["loss"] == pytest.approx(expected, rel=0.2)
    assert mixed["metrics"]["loss"] != exact["metrics"]["loss"]
    assert open_bundle(Path(mixed["bundle"])).manifest.task == "image-classification"


def test_texts_with_adapters_end_in_a_bundle(graft_home: GraftHome) -> None:
    """A transformer's layers, trained through low-rank matrices on the GPU."""
    write_texts(graft_home.work)
    training = {**TEXT_JOB["training"], "backend": "jax"}
    ended = _run(graft_home, "gpu-texts", **{**TEXT_JOB, "training": training, "scaling": {"gpusPerWorker": 1}})
    assert open_bundle(Path(ended["bundle"])).manifest.task == "text-classification"
    assert_adapters_learned(graft_home.runs("gpu-texts")[0].events_file)


def test_trials_share_a_gpu(graft_home: GraftHome) -> None:
    """Each gets its share of the memory, which JAX would else take for the first of them."""
    _run(
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
