"""A phase that unfreezes block by block, in this very process: interrupted, and with features of frozen blocks."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from graftwork.preprocess.image import ImageSpec
from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork_jobs.data.index import DatasetIndex, Split
from graftwork_jobs.events import read_events
from graftwork_jobs.train.request import TrainRequest
from graftwork_jobs.train.run_context import RunContext
from tests.support.lonely_host import KilledError, LonelyHost, train_alone

pytestmark = pytest.mark.usefixtures("on_this_machine")

_SIDE = 16
_PHASE = {"name": "tune", "epochs": 6, "unfreeze": {"gradually": {"oneBlockEvery": 2}}, "learningRate": 0.01}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, their index and a backbone of two blocks."""
    root, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    splits = {}
    for name, size in {"train": 22, "validation": 8}.items():
        labels = np.arange(size, dtype=np.int32) % 2
        paths = [root / f"{name}-{row}.png" for row in range(size)]
        for path, label in zip(paths, labels, strict=True):
            pixels = random.integers(0, 190, (_SIDE, _SIDE, 3))
            pixels[..., label] += 40
            Image.fromarray(pixels.astype(np.uint8)).save(path)
        digests = tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
        splits[name] = Split(name=name, inputs=tuple(map(str, paths)), targets=labels, digests=digests)
    DatasetIndex(labels=("red", "green"), splits=splits).save(root / "index.parquet")
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Conv2D(4, 3, strides=2, padding="same", name=f"block{number}_conv") for number in (1, 2)]
    keras.Sequential([keras.Input((_SIDE, _SIDE, 3)), keras.layers.Rescaling(1 / 127.5, -1), *layers]).save(
        root / "small.keras"
    )
    return root


def _request(pictures: Path, run_dir: Path, **spec: Any) -> TrainRequest:
    run_dir.mkdir()
    job = FineTuneJob.model_validate(
        {
            "apiVersion": "graftwork.dev/v1alpha1",
            "kind": "FineTuneJob",
            "metadata": {"name": "gradual"},
            "spec": {
                "task": "image-classification",
                "backbone": {"path": "small.keras"},
                "data": {"train": {"uri": "unused"}},
                "head": {"dropout": 0.2},
                "phases": [_PHASE],
                "training": {"batchSize": 8, "seed": 5, "layerDecay": 0.8, "ema": {"decay": 0.9}},
                # A checkpoint after each epoch, however short.
                "scaling": {"checkpointEverySeconds": 1e-6},
                **spec,
            },
        }
    )
    return TrainRequest(
        job=job,
        base_dir=pictures,
        run_dir=run_dir,
        index_file=pictures / "index.parquet",
        input=ImageSpec(height=_SIDE, width=_SIDE),
        weights_dir=pictures / "weights",
        data_cache_dir=pictures / "cache",
        features_dir=run_dir / "features",
        run_name=run_dir.name,
    )


@pytest.fixture(scope="module")
def undisturbed(
    pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainRequest, RunContext, list[dict[str, Any]]]:
    """Two epochs of the head, two with the upper block, two with both."""
    root = tmp_path_factory.mktemp("undisturbed")
    request = _request(pictures, root / "run")
    return request, *train_alone(request, LonelyHost(folder=root / "checkpoints"))


@pytest.mark.parametrize("killed_after", [(1, 3), (2, 4)], ids=["within stages", "between stages"])
def test_going_on_changes_nothing(
    killed_after: tuple[int, int],
    undisturbed: tuple[TrainRequest, RunContext, list[dict[str, Any]]],
    pictures: Path,
    tmp_path: Path,
) -> None:
    """Weights and figures are those of the run that was never killed, bit by bit."""
    _, expected, history = undisturbed
    request = _request(pictures, tmp_path / "run")
    host = LonelyHost(folder=tmp_path / "checkpoints", dies_after=killed_after)
    for _ in killed_after:
        with pytest.raises(KilledError):
            train_alone(request, host)
    run, found = train_alone(request, host)
    assert found == history
    for ours, theirs in zip(run.network.model.variables, expected.network.model.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=theirs.path)


def test_the_cut_follows_the_boundary(
    undisturbed: tuple[TrainRequest, RunContext, list[dict[str, Any]]], pictures: Path, tmp_path: Path
) -> None:
    """Each stage keeps what lies below its own boundary, and learns what it would from pictures."""
    request, kept, _ = undisturbed
    events = [event for event in read_events(request.events_file) if event["kind"] in {"features", "unfrozen"}]
    assert [event.get("cut", event.get("layer")) for event in events] == [
        *["head_pool"] * 2,
        *["block1_conv"] * 2,
        "block2_conv",
        "block1_conv",
    ]
    without = _request(pictures, tmp_path / "run", features={"cache": "none"})
    run, _ = train_alone(without, LonelyHost(folder=tmp_path / "checkpoints"))
    for ours, theirs in zip(run.network.model.variables, kept.network.model.variables, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-3, atol=2e-4, err_msg=theirs.path)


def test_patience_begins_anew_with_each_block(pictures: Path, tmp_path: Path) -> None:
    """Two epochs without progress in two stages are no two in a row; within a stage they end the phase."""
    training = {"batchSize": 8, "earlyStopping": {"patience": 2, "minDelta": 1000}}
    run = _request(pictures, tmp_path / "run", training=training)
    _, history = train_alone(run, LonelyHost(folder=tmp_path / "checkpoints"))
    # The first epoch always counts as progress: one without in the first stage, two in the second.
    assert len(history) == 4
