"""Features of a split, computed by several workers into one store."""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from graftwork.errors import PermanentError
from graftwork.preprocess.image import ImageSpec, decode_image
from graftwork_jobs.data.batch_plan import view_seeds
from graftwork_jobs.data.index import Split
from graftwork_jobs.data.input_batches import PictureBatches
from graftwork_jobs.data.pipeline import ChangedDataError, readable_data_errors
from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.features import extract as extract_module
from graftwork_jobs.features.engine import Engine, default_engine
from graftwork_jobs.features.extract import Extractor, NodeShare, Views
from graftwork_jobs.features.phase_cut import PhaseCut
from graftwork_jobs.features.store import FeatureStore
from tests.unit.jobs.data.pictures import write_picture
from tests.unit.jobs.distributed.worlds import run_world

IMAGE = ImageSpec(height=6, width=8)
# Three batches of the extractor and a bit, and no multiple of the numbers of workers.
EXAMPLES = 199
ALONE = Collectives(rank=0, world=1)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """Pictures that all differ."""
    root = tmp_path_factory.mktemp("pictures")
    paths = [write_picture(root / f"{number}.png", number) for number in range(EXAMPLES)]
    return Split(
        name="train",
        inputs=tuple(str(path) for path in paths),
        targets=np.zeros(EXAMPLES, np.int32),
        digests=tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths),
    )


def _cut(seed: int = 0) -> PhaseCut:
    """A trunk with dropout, which has to stay silent, and BatchNorm."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((6, 8, 3), name="image")
    inner = keras.layers.Conv2D(4, 3, name="conv")(image)
    inner = keras.layers.BatchNormalization(name="bn")(keras.layers.Dropout(0.5, name="drop")(inner))
    features = keras.Input(inner.shape[1:])
    return PhaseCut(
        name="bn",
        trunk=keras.Model(image, inner, name="trunk"),
        rest=None,
        head=keras.Model(features, keras.layers.Flatten()(features)),
    )


def _expected(cut: PhaseCut, split: Split) -> np.ndarray:
    pictures = np.stack([decode_image(Path(uri).read_bytes(), IMAGE) for uri in split.inputs]).astype(np.float32)
    return np.asarray(cut.trunk(pictures, training=False))


def _brighter(picture: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return picture + tf.random.stateless_uniform([], seed, 0.0, 9.0)


def _extractor(
    root: Path,
    events: list[dict[str, Any]],
    collectives: Collectives = ALONE,
    *,
    run: str = "run",
    node: NodeShare | None = None,
    changes: str = "brighter",
) -> Extractor:
    return Extractor(
        store=FeatureStore(root=root, limit_bytes=10**8),
        collectives=collectives,
        node=node or NodeShare(rank=collectives.rank, world=collectives.world),
        run=run,
        inputs=PictureBatches(image=IMAGE, augment=_brighter, changes=(changes,), cache_dir=root / "cache"),
        tell=lambda kind, **fields: events.append({"kind": kind, **fields}),
        pulse=lambda: None,
    )


@pytest.mark.parametrize("world", [1, 2, 3])
def test_features_are_the_trunks_outputs(world: int, split: Split, tmp_path: Path) -> None:
    """In the split's order, whatever the number of workers; all of them see the same."""
    cut = _cut()
    expected = _expected(cut, split)

    def work(collectives: Collectives) -> np.ndarray:
        return _extractor(tmp_path, [], collectives).features(cut, split, phase="head")

    for features in run_world(world, work):
        np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)
    assert len(list(tmp_path.glob("*"))) == 1


def test_machines_may_share_a_volume(split: Split, tmp_path: Path) -> None:
    """Pods that keep their features on one volume compute them side by side, and none takes another's file away."""
    cut = _cut()
    expected = _expected(cut, split)

    def work(collectives: Collectives) -> np.ndarray:
        alone_on_its_machine = NodeShare(rank=0, world=1, machine=collectives.rank)
        return _extractor(tmp_path, [], collectives, node=alone_on_its_machine).features(cut, split, phase="head")

    for features in run_world(3, work):
        np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)
    assert len(list(tmp_path.glob("*"))) == 1


def test_a_second_time_they_come_from_the_store(split: Split, tmp_path: Path) -> None:
    """Another run with the same trunk and pictures computes nothing; the events say so."""
    events: list[dict[str, Any]] = []
    first = _extractor(tmp_path, events).features(_cut(), split, phase="head")
    second = _extractor(tmp_path, events, run="later").features(_cut(), split, phase="head")
    np.testing.assert_array_equal(first, second)
    assert [event["hit"] for event in events] == [False, True]
    assert {(event["kind"], event["split"], event["cut"], event["examples"]) for event in events} == {
        ("features", "train", "bn", EXAMPLES)
    }


def test_the_state_of_dropout_is_not_part_of_the_trunk(split: Split, tmp_path: Path) -> None:
    """A trunk whose random numbers have moved on computes the same in inference mode, so its features are the same."""
    events: list[dict[str, Any]] = []
    cut = _cut()
    _extractor(tmp_path, events).features(cut, split, phase="head")
    cut.trunk.get_layer("drop")(np.ones((1, 2)), training=True)
    _extractor(tmp_path, events).features(cut, split, phase="head")
    assert [event["hit"] for event in events] == [False, True]


def test_other_weights_or_pictures_are_other_features(split: Split, tmp_path: Path) -> None:
    """Nothing is taken from the store that was computed from something else."""
    events: list[dict[str, Any]] = []
    extractor = _extractor(tmp_path, events)
    cut = _cut()
    extractor.features(cut, split, phase="head")
    cut.trunk.get_layer("bn").moving_mean.assign(np.ones(4))
    np.testing.assert_allclose(
        extractor.features(cut, split, phase="head"), _expected(cut, split), rtol=1e-4, atol=1e-4
    )
    fewer = Split(name="train", inputs=split.inputs[:5], targets=split.targets[:5], digests=split.digests[:5])
    assert len(extractor.features(cut, fewer, phase="head")) == 5
    assert [event["hit"] for event in events] == [False] * 3


def test_workers_that_find_different_things_compute_again(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run commits the entry after the first worker looked and before the second did."""
    cut = _cut()
    expected = _expected(cut, split)
    _extractor(tmp_path, []).features(cut, split, phase="head")
    real = FeatureStore.open

    def work(collectives: Collectives) -> np.ndarray:
        extractor = _extractor(tmp_path, [], collectives, run="late")
        if collectives.rank == 1:
            monkeypatch.setattr(extractor.store.__class__, "open", open_as_late)
            seen.add(id(extractor.store))
        return extractor.features(cut, split, phase="head")

    seen: set[int] = set()

    def open_as_late(store: FeatureStore, key: str, **options: bool) -> Any:
        return None if id(store) in seen else real(store, key, **options)

    for features in run_world(2, work):
        np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)
    assert len(list(tmp_path.glob("*"))) == 1


def test_eviction_right_after_the_commit_does_no_harm(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run makes room at once: the features are mapped already."""
    cut = _cut()
    real = FeatureStore.commit

    def commit_then_evict(store: FeatureStore, key: str, owner: str) -> None:
        real(store, key, owner)
        (store.root / f"{key}.npy").unlink()

    monkeypatch.setattr(FeatureStore, "commit", commit_then_evict)
    features = _extractor(tmp_path, []).features(cut, split, phase="head")
    np.testing.assert_allclose(features, _expected(cut, split), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("world", [1, 2])
def test_a_damaged_entry_is_computed_again(world: int, split: Split, tmp_path: Path) -> None:
    """One bit of one value: the entry is not used, a warning says so, and a whole one takes its place."""
    cut = _cut()
    _extractor(tmp_path, []).features(cut, split, phase="head")
    (path,) = tmp_path.glob("*.npy")
    content = bytearray(path.read_bytes())
    content[-1000] ^= 64
    path.write_bytes(content)
    events: list[dict[str, Any]] = []

    def work(collectives: Collectives) -> np.ndarray:
        told = events if collectives.rank == 0 else []
        return _extractor(tmp_path, told, collectives, run="later").features(cut, split, phase="head")

    for features in run_world(world, work):
        np.testing.assert_allclose(features, _expected(cut, split), rtol=1e-4, atol=1e-4)
    assert [event["kind"] for event in events] == ["warning", "features"]
    assert "damaged" in events[0]["message"]
    assert not events[1]["hit"]
    again: list[dict[str, Any]] = []
    _extractor(tmp_path, again).features(cut, split, phase="head")
    assert again[0]["hit"]


def test_a_full_disk_stops_the_job_for_good(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost workers are worth another attempt, this is not."""

    def no_room(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", no_room)
    with pytest.raises(PermanentError, match=r"no room for .* set spec\.features\.cache to none"):
        _extractor(tmp_path, []).features(_cut(), split, phase="head")
    assert not list(tmp_path.glob("*.unfinished"))


def test_a_picture_that_cannot_be_read_leaves_nothing(split: Split, tmp_path: Path) -> None:
    """The picture is named, and no unfinished file takes up room."""
    changed = Split(name="train", inputs=split.inputs, targets=split.targets, digests=(*split.digests[:-1], "0" * 64))
    with pytest.raises(ChangedDataError, match=r"198\.png.*content has changed"), readable_data_errors():
        _extractor(tmp_path, []).features(_cut(), changed, phase="head")
    assert list(tmp_path.glob("*")) == []


@pytest.mark.parametrize(("limits", "fits"), [((10**6, 10**6), True), ((10**6, 10), False), ((10, 10**6), False)])
def test_features_fit_if_they_fit_everywhere(limits: tuple[int, int], fits: bool, tmp_path: Path) -> None:
    """All workers get the same answer, or one would wait for the others for ever."""
    cut = _cut()

    def work(collectives: Collectives) -> bool:
        extractor = _extractor(tmp_path, [], collectives)
        store = FeatureStore(root=tmp_path, limit_bytes=limits[collectives.rank])
        return Extractor(**{**vars(extractor), "store": store}).fits(cut, 100)

    assert run_world(2, work) == [fits, fits]


def _expected_view(cut: PhaseCut, split: Split, *, seed: int, view: int) -> np.ndarray:
    pictures = np.stack([decode_image(Path(uri).read_bytes(), IMAGE) for uri in split.inputs]).astype(np.float32)
    seeds = view_seeds(np.arange(len(split)), seed=seed, view=view)
    changed = np.stack([_brighter(picture, own) for picture, own in zip(pictures, seeds, strict=True)])
    return np.asarray(cut.trunk(changed, training=False))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_views_are_the_trunks_outputs_for_changed_pictures(world: int, split: Split, tmp_path: Path) -> None:
    """Each drawn from seed, row and view, whatever the number of workers."""
    cut = _cut()

    def work(collectives: Collectives) -> tuple[np.ndarray, ...]:
        return _extractor(tmp_path, [], collectives).views(cut, split, Views(count=3, seed=5), phase="head")

    for views in run_world(world, work):
        for view, features in enumerate(views):
            expected = _expected_view(cut, split, seed=5, view=view)
            np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)
    assert len(list(tmp_path.glob("*"))) == 3


def test_more_views_add_to_those_there_are(split: Split, tmp_path: Path) -> None:
    """Two views are part of four; only the two others are computed, and they are what they would have been alone."""
    events: list[dict[str, Any]] = []
    few = _extractor(tmp_path / "shared", events).views(_cut(), split, Views(count=2, seed=5), phase="head")
    more = _extractor(tmp_path / "shared", events).views(_cut(), split, Views(count=4, seed=5), phase="tune")
    alone = _extractor(tmp_path / "own", []).views(_cut(), split, Views(count=4, seed=5), phase="head")
    for one, other in zip(more, alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(few[1], more[1])
    assert [(event["phase"], event["views"], event["hits"], event["entries"]) for event in events] == [
        ("head", 2, 0, 2),
        ("tune", 4, 2, 4),
    ]


def test_views_of_another_seed_or_change_are_others(split: Split, tmp_path: Path) -> None:
    """And none of them is the unchanged picture's entry."""
    events: list[dict[str, Any]] = []
    _extractor(tmp_path, events).features(_cut(), split, phase="head")
    _extractor(tmp_path, events).views(_cut(), split, Views(count=1, seed=5), phase="head")
    _extractor(tmp_path, events).views(_cut(), split, Views(count=1, seed=6), phase="head")
    _extractor(tmp_path, events, changes="darker").views(_cut(), split, Views(count=1, seed=5), phase="head")
    assert [event["hits"] for event in events] == [0, 0, 0, 0]


def test_the_engine_is_no_part_of_the_key(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever computed an entry, the next run takes it; the event names the engine."""
    events: list[dict[str, Any]] = []

    def other_engine(default: Engine, *_: Any, **__: Any) -> Engine:
        return replace(default, name="openvino", reason="for the test", is_chosen=True)

    monkeypatch.setattr(extract_module, "choose_engine", other_engine)
    _extractor(tmp_path, events).features(_cut(), split, phase="head")
    monkeypatch.undo()
    _extractor(tmp_path, events).features(_cut(), split, phase="head")
    assert [(event["hit"], event["engine"]) for event in events] == [(False, "openvino"), (True, None)]


def test_a_trunk_is_compiled_once_for_all_splits(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation data goes through what the training data went through."""
    compiled: list[str] = []

    def counted(trunk: keras.Model, signature: tf.TensorSpec) -> Engine:
        compiled.append(trunk.name)
        return default_engine(trunk, signature)

    monkeypatch.setattr(extract_module, "default_engine", counted)
    held_out = Split(name="validation", inputs=split.inputs[:9], targets=split.targets[:9], digests=split.digests[:9])
    cut, extractor = _cut(), _extractor(tmp_path, [])
    extractor.features(cut, split, phase="head")
    np.testing.assert_allclose(
        extractor.features(cut, held_out, phase="head"), _expected(cut, held_out), rtol=1e-4, atol=1e-4
    )
    assert compiled == ["trunk"]


def test_fewer_examples_than_workers(split: Split, tmp_path: Path) -> None:
    """A worker without a row waits for nobody, and nobody for it."""
    few = Split(name="train", inputs=split.inputs[:2], targets=split.targets[:2], digests=split.digests[:2])
    cut = _cut()

    def work(collectives: Collectives) -> np.ndarray:
        return _extractor(tmp_path, [], collectives).features(cut, few, phase="head")

    for features in run_world(3, work):
        np.testing.assert_allclose(features, _expected(cut, few), rtol=1e-4, atol=1e-4)
