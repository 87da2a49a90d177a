"""Training on JAX gives what training on TensorFlow gives, and N of its workers give what one gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graftwork.progress import SilentReporter
from graftwork_jobs.events import read_events
from graftwork_jobs.train.launch import train
from graftwork_jobs.train.request import TrainRequest
from tests.integration.train.small_jobs import (
    EVERYTHING_AT_ONCE,
    PHASES,
    SmallData,
    history_of,
    scores_of,
    small_request,
    weights_of,
)

pytest.importorskip("jax", reason="needs the extra jax")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]

# As in `test_equivalence`: the backends, too, add float32 numbers in another order.
RELATIVE, ABSOLUTE = 1e-3, 2e-4

# The first phase runs on features of the frozen trunk, the second on pictures that change. Nothing is drawn at random
# inside the network: each backend would draw other numbers.
JOB: dict[str, Any] = {
    "phases": [PHASES[0], {**PHASES[1], "schedule": "cosine", "warmupEpochs": 0.5}],
    "training": {**EVERYTHING_AT_ONCE, "reduceOnPlateau": {"patience": 1, "factor": 0.5}},
}


def _trained(data: SmallData, root: Path, backend: str, workers: int) -> TrainRequest:
    spec = {**JOB, "training": {**JOB["training"], "backend": backend}}
    request = small_request(data, root / f"{backend}-{workers}", workers=workers, **spec)
    request = replace(request, features_dir=root / f"{backend}-{workers}-features")
    train(request, SilentReporter())
    return request


@pytest.fixture(scope="module")
def on_tensorflow(small_data: SmallData, local_ray: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainRequest:
    """The job on one worker with TensorFlow."""
    return _trained(small_data, tmp_path_factory.mktemp("tensorflow"), "tensorflow", 1)


@pytest.fixture(scope="module")
def on_jax(small_data: SmallData, local_ray: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainRequest:
    """The job on two workers with JAX."""
    return _trained(small_data, tmp_path_factory.mktemp("jax"), "jax", 2)


def test_two_workers_on_jax_end_where_tensorflow_ends(on_tensorflow: TrainRequest, on_jax: TrainRequest) -> None:
    """Weights, statistics and predictions; accumulation, clipping, averages, rates by depth, schedules and so on."""
    expected, found = weights_of(on_tensorflow), weights_of(on_jax)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=RELATIVE, atol=ABSOLUTE, err_msg=name)
    for split in ("test", "elsewhere"):
        np.testing.assert_allclose(scores_of(on_jax, split), scores_of(on_tensorflow, split), atol=1e-3)


def test_its_epochs_have_the_same_figures(on_tensorflow: TrainRequest, on_jax: TrainRequest) -> None:
    """Loss and accuracy of training and validation, and learning rates."""
    for found, expected in zip(history_of(on_jax), history_of(on_tensorflow), strict=True):
        for name in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
            assert found[name] == pytest.approx(expected[name], rel=RELATIVE, abs=ABSOLUTE), name


def test_its_workers_are_compared_with_one_before_each_phase(on_jax: TrainRequest) -> None:
    """As on TensorFlow; what differs is far below what rounding may cause. A small head is not spread at all."""
    events = read_events(on_jax.events_file)
    compared = {event["phase"]: event["share_of_rounding"] for event in events if event["kind"] == "preflight"}
    assert compared.keys() == {"tune"}
    assert [event["phase"] for event in events if event["kind"] == "replicated"] == ["head"]
    assert max(compared.values()) < 0.1


def test_features_come_from_jax(on_jax: TrainRequest) -> None:
    """What ran the frozen trunk says so."""
    engines = {event["engine"] for event in read_events(on_jax.events_file) if event["kind"] == "features"}
    assert engines == {"jax"}
