"""Whatever is predicted, several workers train what one trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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


def _labels(split: Split) -> Split:
    """Two labels that follow from the class, and how much each training example counts."""
    targets = np.stack([split.targets >= 1, split.targets == 0], axis=1).astype(np.float32)
    weights = (1.0 + np.arange(len(split)) % 3) / 2 if split.name == "train" else None
    return replace(split, targets=targets, weights=None if weights is None else weights.astype(np.float32))


@dataclass(frozen=True)
class Kind:
    """A target kind to train: task, what the data becomes, how to train, and the figure beside the loss."""

    task: str
    convert: Callable[[Split], Split]
    training: dict[str, Any]
    score: str
    guessing: float


_KINDS = [
    Kind("image-regression", _numbers, {"loss": "huber"}, "r2", 0.0),
    Kind(
        "image-multilabel-classification",
        _labels,
        {"loss": {"focal": {"gamma": 1.0}}, "classWeights": "balanced", "ema": {"decay": 0.8}, "layerDecay": 0.8},
        "f1_macro",
        # Giving no label at all, which is where the averaged weights begin.
        0.0,
    ),
    Kind("image-ordinal-classification", lambda split: split, {"classWeights": "balanced"}, "accuracy", 0.0),
]


_LEVELS = ["low", "middle", "high"]


@pytest.mark.parametrize(
    "kind",
    [_KINDS[0], *(pytest.param(kind, marks=pytest.mark.slow) for kind in _KINDS[1:])],
    ids=lambda kind: kind.task,
)
def test_it_is_learned_alike_by_any_number_of_workers(
    kind: Kind, small_data: SmallData, local_ray: Path, tmp_path: Path
) -> None:
    """Figures, predictions and weights of two workers are those of one, and better than before training."""
    index = DatasetIndex.load(small_data.index_file)
    has_levels = kind.task == "image-ordinal-classification"
    names = _LEVELS if has_levels else _COLUMNS
    DatasetIndex(labels=tuple(names), splits={name: kind.convert(part) for name, part in index.splits.items()}).save(
        tmp_path / "index.parquet"
    )
    section: dict[str, Any] = {
        "task": kind.task,
        "data": {"train": {"uri": "pictures.csv"}, "labelOrder" if has_levels else "targetColumns": names},
        "training": {
            "batchSize": 16,
            "seed": 5,
            "earlyStopping": {"monitor": f"val_{kind.score}", "patience": 9},
            **kind.training,
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
        for name in ("loss", "val_loss", kind.score, f"val_{kind.score}"):
            assert together[name] == pytest.approx(alone[name], rel=2e-3, abs=2e-4), name
    np.testing.assert_allclose(scores_of(requests[1]), scores_of(requests[0]), rtol=1e-3, atol=1e-2)
    first, second = (weights_of(request) for request in requests)
    for name, value in first.items():
        np.testing.assert_allclose(second[name], value, atol=2e-4, err_msg=name)
    assert max(record[f"val_{kind.score}"] for record in one) > kind.guessing
    assert min(record["val_loss"] for record in one) < one[0]["val_loss"]
    assert (requests[0].predictions_dir / "validation.npz").is_file()
