"""N workers train what one worker trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graftwork.progress import SilentReporter
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

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]

# Workers add float32 numbers in another order. Each sum differs by about 1e-7 of its size; over 16 updates and through
# Adam, which divides by the gradient's size and so magnifies differences of tiny gradients, that grows to below 1e-4.
RELATIVE, ABSOLUTE = 1e-3, 2e-4

EVERYTHING: dict[str, Any] = {
    "phases": [PHASES[0], {**PHASES[1], "unfreeze": {"gradually": {"oneBlockEvery": 1}}}],
    "augment": [{"flip": "horizontal"}, {"rotate": 0.1}, {"contrast": 0.2}, {"mixup": 0.4}, {"cutmix": 1.0}],
    "head": {"hidden": [8], "dropout": 0.3},
    "training": EVERYTHING_AT_ONCE,
}


@pytest.fixture(scope="module", params=["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def trained(
    request: pytest.FixtureRequest, small_data: SmallData, local_ray: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, TrainRequest]:
    """The same job, with everything switched on, finished on one, two and three workers."""
    root = tmp_path_factory.mktemp("equivalence")
    spec = {**EVERYTHING, "training": {**EVERYTHING["training"], "backend": request.param}}
    requests = {
        workers: small_request(small_data, root / f"workers-{workers}", workers=workers, **spec)
        for workers in (1, 2, 3)
    }
    for each in requests.values():
        train(each, SilentReporter())
    return requests


@pytest.mark.parametrize("workers", [2, 3])
def test_weights_do_not_depend_on_workers(trained: dict[int, TrainRequest], workers: int) -> None:
    """Accumulation, clipping, dropout, augmentation, averages, gradual unfreezing, BatchNorm in training mode, ..."""
    alone, together = weights_of(trained[1]), weights_of(trained[workers])
    assert alone.keys() == together.keys()
    for name, value in alone.items():
        np.testing.assert_allclose(together[name], value, rtol=RELATIVE, atol=ABSOLUTE, err_msg=name)


@pytest.mark.parametrize("workers", [2, 3])
def test_figures_do_not_depend_on_workers(trained: dict[int, TrainRequest], workers: int) -> None:
    """Loss and accuracy of training and validation are those of one worker, epoch by epoch."""
    for alone, together in zip(history_of(trained[1]), history_of(trained[workers]), strict=True):
        for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
            assert together[name] == pytest.approx(alone[name], rel=RELATIVE, abs=ABSOLUTE), name
        assert together["is_best"] == alone["is_best"]


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("split", ["test", "elsewhere"])
def test_predictions_hold_every_example_once(trained: dict[int, TrainRequest], workers: int, split: str) -> None:
    """Each test set's scores are one worker's, in the order of its rows."""
    np.testing.assert_allclose(scores_of(trained[workers], split), scores_of(trained[1], split), atol=1e-3)


def test_training_changes_what_it_should(trained: dict[int, TrainRequest]) -> None:
    """Moving statistics and kernels move: the comparison above is not of untouched weights."""
    moved = {name: value for name, value in weights_of(trained[1]).items() if "seed" not in name}
    statistics = [value for name, value in moved.items() if name.endswith(("vars/2", "vars/3"))]
    assert statistics
    assert all(not np.allclose(value, 0) and not np.allclose(value, 1) for value in statistics)
