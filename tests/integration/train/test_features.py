"""Features of the frozen trunk, computed once, give what pictures give."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from graftwork.progress import SilentReporter
from graftwork_jobs.events import read_events
from graftwork_jobs.train.launch import train
from graftwork_jobs.train.request import TrainRequest
from tests.integration.train.small_jobs import SmallData, history_of, scores_of, small_request, weights_of
from tests.support.train_workers import train_workers

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]

# A trunk run in batches of another size adds float32 numbers in another order; see `test_equivalence`.
RELATIVE, ABSOLUTE = 1e-3, 2e-4
_DEADLINE_S = 400.0
_LOOK_EVERY_S = 0.005

# The whole backbone frozen, its upper half frozen, and again; dropout, padding rows and accumulation are all in.
JOB: dict[str, Any] = {
    "phases": [
        {"name": "head", "epochs": 2, "unfreeze": "none", "learningRate": 0.01},
        {"name": "tune", "epochs": 2, "unfreeze": {"fromLayer": "conv1"}, "learningRate": 0.003},
        {"name": "polish", "epochs": 1, "unfreeze": "none", "learningRate": 0.003},
    ],
    "head": {"hidden": [8], "dropout": 0.3},
    "training": {"batchSize": 14, "gradientAccumulation": 2, "classWeights": "balanced", "batchNorm": "train"},
}
_SPLITS = ["train", "validation"]


def _request(data: SmallData, run_dir: Path, store: Path, *, cache: str = "auto", workers: int = 1) -> TrainRequest:
    request = small_request(data, run_dir, workers=workers, features={"cache": cache}, **JOB)
    return replace(request, features_dir=store)


def _found(request: TrainRequest) -> list[tuple[str, str, bool]]:
    """Split, cut and whether the store had it, in order."""
    return [
        (event["split"], event["cut"], event["hit"])
        for event in read_events(request.events_file)
        if event["kind"] == "features"
    ]


def _assert_same_outcome(one: TrainRequest, other: TrainRequest, *, rtol: float, atol: float) -> None:
    expected = weights_of(other)
    found = weights_of(one)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=rtol, atol=atol, err_msg=name)
    np.testing.assert_allclose(scores_of(one), scores_of(other), rtol=0, atol=atol * 5)


@pytest.fixture(scope="module")
def on_pictures(small_data: SmallData, local_ray: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainRequest:
    """The job without stored features."""
    root = tmp_path_factory.mktemp("pictures")
    request = _request(small_data, root / "pictures", root / "store", cache="none")
    train(request, SilentReporter())
    return request


@pytest.fixture(scope="module")
def on_features(
    small_data: SmallData, local_ray: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, TrainRequest]:
    """The job with stored features, on one and two workers, each with a store of its own."""
    root = tmp_path_factory.mktemp("features")
    requests = {
        workers: _request(small_data, root / f"workers-{workers}", root / f"store-{workers}", workers=workers)
        for workers in (1, 2)
    }
    for request in requests.values():
        train(request, SilentReporter())
    return requests


@pytest.mark.parametrize("workers", [1, 2])
def test_the_outcome_is_that_of_pictures(
    workers: int, on_features: dict[int, TrainRequest], on_pictures: TrainRequest
) -> None:
    """Weights, statistics, dropout's state, predictions and the figures of every epoch."""
    _assert_same_outcome(on_features[workers], on_pictures, rtol=RELATIVE, atol=ABSOLUTE)
    for stored, plain in zip(history_of(on_features[workers]), history_of(on_pictures), strict=True):
        for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
            assert stored[name] == pytest.approx(plain[name], rel=RELATIVE, abs=ABSOLUTE), name


@pytest.mark.parametrize("workers", [1, 2])
def test_each_phase_is_cut_where_it_is_frozen(workers: int, on_features: dict[int, TrainRequest]) -> None:
    """After pooling, then before the layers that train; a trunk that training has changed is computed afresh."""
    assert _found(on_features[workers]) == [
        (split, cut, False) for cut in ("head_pool", "relu0", "head_pool") for split in _SPLITS
    ]


def test_without_the_cache_nothing_is_stored(on_pictures: TrainRequest) -> None:
    """No events and no files: the comparison above is between two different ways."""
    assert _found(on_pictures) == []
    assert not list(on_pictures.features_dir.glob("*"))


def test_a_second_run_takes_its_features_from_the_store(
    small_data: SmallData, on_features: dict[int, TrainRequest], tmp_path: Path
) -> None:
    """Same data and trunks, another run: nothing is computed, and exactly the same comes out."""
    request = _request(small_data, tmp_path / "again", on_features[1].features_dir)
    train(request, SilentReporter())
    found = _found(request)
    assert found == [(split, cut, True) for cut in ("head_pool", "relu0", "head_pool") for split in _SPLITS]
    _assert_same_outcome(request, on_features[1], rtol=0, atol=0)


def test_augmented_phases_see_pictures(small_data: SmallData, local_ray: Path, tmp_path: Path) -> None:
    """A picture that changes in every epoch has no features to keep."""
    augmented = {**JOB, "phases": JOB["phases"][:1], "augment": [{"flip": "horizontal"}]}
    request = small_request(small_data, tmp_path / "augmented", **augmented)
    request = replace(request, features_dir=tmp_path / "store")
    train(request, SilentReporter())
    assert _found(request) == []


VIEWS: dict[str, Any] = {
    **JOB,
    "phases": [{**JOB["phases"][1], "epochs": 3}],
    "augment": [{"flip": "horizontal"}, {"rotate": 0.1}, {"contrast": 0.2}],
}


@pytest.fixture(scope="module")
def on_views(
    small_data: SmallData, local_ray: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, TrainRequest]:
    """An augmented job that keeps four views, on one and two workers, each with a store of its own."""
    root = tmp_path_factory.mktemp("views")
    requests = {}
    for workers in (1, 2):
        request = small_request(
            small_data, root / f"workers-{workers}", workers=workers, features={"views": 4}, **VIEWS
        )
        requests[workers] = replace(request, features_dir=root / f"store-{workers}")
        train(requests[workers], SilentReporter())
    return requests


def test_stored_views_do_not_depend_on_workers(on_views: dict[int, TrainRequest]) -> None:
    """The same weights, statistics and predictions."""
    _assert_same_outcome(on_views[2], on_views[1], rtol=RELATIVE, atol=ABSOLUTE)


def test_a_phase_keeps_no_more_views_than_it_has_epochs(on_views: dict[int, TrainRequest]) -> None:
    """Three of four views in three epochs; the validation data as it is. Nothing is asked for twice."""
    events = [event for event in read_events(on_views[1].events_file) if event["kind"] == "features"]
    assert [(event["phase"], event["split"], event["views"], event["hits"], event["entries"]) for event in events] == [
        ("tune", "train", 3, 0, 3),
        ("tune", "validation", 0, 0, 1),
    ]
    assert len(list(on_views[1].features_dir.glob("*.npy"))) == 4


def test_workers_are_compared_with_one_before_each_phase(on_features: dict[int, TrainRequest]) -> None:
    """Two workers before every phase that is spread over them; one worker never.

    What differs is far below what rounding may cause.
    """
    found = {
        workers: [event for event in read_events(request.events_file) if event["kind"] == "preflight"]
        for workers, request in on_features.items()
    }
    assert [event["phase"] for event in found[2]] == ["tune"]
    assert all(event["share_of_rounding"] < 0.1 for event in found[2])
    assert found[1] == []


def _when(condition: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
    def watch() -> None:
        deadline = time.monotonic() + _DEADLINE_S
        while time.monotonic() < deadline:
            if condition():
                act()
                return
            time.sleep(_LOOK_EVERY_S)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def _kill_a_worker() -> None:
    workers = train_workers(psutil.Process().children(recursive=True))
    os.kill(workers[-1].pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_worker_killed_while_computing_features_changes_nothing(
    small_data: SmallData, on_features: dict[int, TrainRequest], tmp_path: Path
) -> None:
    """`kill -9` while an entry is unfinished: the next attempt builds it; the outcome is the same to the last bit."""
    store = tmp_path / "store"
    request = _request(small_data, tmp_path / "killed", store, workers=2)
    unfinished = _when(lambda: any(store.glob("*.unfinished")), _kill_a_worker)
    train(request, SilentReporter())
    unfinished.join(timeout=1)
    assert not unfinished.is_alive()
    starts = [event["phase"] for event in read_events(request.events_file) if event["kind"] == "phase_started"]
    assert starts == ["head", "tune", "polish"], "the worker was killed after the extraction"
    assert {path.name for path in store.iterdir()} == {path.name for path in on_features[2].features_dir.iterdir()}
    for path in store.iterdir():
        expected = np.load(on_features[2].features_dir / path.name)
        np.testing.assert_array_equal(np.load(path), expected)
    _assert_same_outcome(request, on_features[2], rtol=0, atol=0)
