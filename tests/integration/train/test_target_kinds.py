"""Whatever is predicted, several workers train what one trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graftwork.progress import SilentReporter
from graftwork_jobs.data.index import DatasetIndex, Split
from graftwork_jobs.train.launch import train
from tests.integration.train.small_jobs import SmallData, history_of, scores_of, small_request, weights_of

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]

_COLUMNS = ["brightness", "size"]


def _numbers(split: Split) -> Split:
    """Two numbers that follow from the class, on different scales."""
    random = np.random.default_rng(len(split))
    noise = random.normal(size=(len(split), 2)) * [2.0, 0.01]
    targets = np.stack([split.targets * 50.0 + 100.0, split.targets * -0.2], axis=1) + noise
    return replace(split, targets=targets.astype(np.float32))


def test_numbers_are_learned_alike_by_any_number_of_workers(
    small_data: SmallData, local_ray: Path, tmp_path: Path
) -> None:
    """Figures and predictions of two workers are those of one, and better than always giving the mean."""
    index = DatasetIndex.load(small_data.index_file)
    numbers = DatasetIndex(labels=tuple(_COLUMNS), splits={name: _numbers(part) for name, part in index.splits.items()})
    numbers.save(tmp_path / "index.parquet")
    section: dict[str, Any] = {
        "task": "image-regression",
        "data": {"train": {"uri": "pictures.csv"}, "targetColumns": _COLUMNS},
        "training": {
            "batchSize": 16,
            "seed": 5,
            "loss": "huber",
            "earlyStopping": {"monitor": "val_r2", "patience": 9},
        },
    }
    requests = [
        replace(
            small_request(small_data, tmp_path / f"run-{workers}", workers=workers, **section),
            index_file=tmp_path / "index.parquet",
        )
        for workers in (1, 2)
    ]
    for request in requests:
        train(request, SilentReporter())
    one, two = (history_of(request) for request in requests)
    for alone, together in zip(one, two, strict=True):
        for name in ("loss", "r2", "mae", "val_loss", "val_r2", "val_mae"):
            assert together[name] == pytest.approx(alone[name], rel=2e-3, abs=2e-4), name
    np.testing.assert_allclose(scores_of(requests[1]), scores_of(requests[0]), rtol=1e-3, atol=1e-2)
    first, second = (weights_of(request) for request in requests)
    for name, value in first.items():
        np.testing.assert_allclose(second[name], value, atol=2e-4, err_msg=name)
    assert max(record["val_r2"] for record in one) > 0.0
    assert 60.0 < float(scores_of(requests[0])[:, 0].mean()) < 240.0
