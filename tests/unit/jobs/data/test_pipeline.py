"""Batches of real pictures: right pixels, order, weights and augmentation for any number of workers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from graftwork.preprocess.image import ImageSpec, decode_image
from graftwork_jobs.data.index import Split
from graftwork_jobs.data.pipeline import (
    Augmenter,
    BatchPlan,
    ChangedDataError,
    eval_batches,
    readable_data_errors,
    train_batches,
)
from tests.unit.jobs.data.pictures import scan, write_folder, write_picture

IMAGE = ImageSpec(height=6, width=8)
Batch = tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """Fourteen pictures of two classes."""
    base = tmp_path_factory.mktemp("data")
    write_folder(base / "train", {"cat": 8, "dog": 6})
    write_folder(base / "other", {"cat": 1, "dog": 1}, first=50)
    return scan(base, train={"uri": "train"}, validation={"uri": "other"}, test={"uri": "other"}).index.splits["train"]


@pytest.fixture(scope="module")
def pixels(split: Split) -> NDArray[np.uint8]:
    """Every picture of the split, decoded by the code that serving runs."""
    return np.stack([decode_image(Path(uri).read_bytes(), IMAGE) for uri in split.inputs])


def epoch_of(
    split: Split,
    plan: BatchPlan,
    tmp_path: Path,
    *,
    epoch: int = 0,
    augment: Augmenter | None = None,
    start_step: int = 0,
) -> list[Batch]:
    """All batches of one worker's epoch."""
    dataset = train_batches(
        split,
        IMAGE,
        plan,
        seed=7,
        phase=1,
        epoch=epoch,
        row_weights=np.array([1.0, 2.0], dtype=np.float32)[split.targets],
        augment=augment,
        cache_dir=tmp_path,
        start_step=start_step,
        threads=3,
    )
    return [(x, y, w) for x, y, w in dataset.as_numpy_iterator()]


def add_noise(picture: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """An augmentation in which every pixel depends on the seed."""
    return picture + tf.random.stateless_uniform(tf.shape(picture), seed)


def valid(batches: list[Batch]) -> list[tuple[bytes, int, float]]:
    """Pixels, class and weight of all rows that count, in order."""
    return [
        (picture.tobytes(), int(label), float(weight))
        for batch in batches
        for picture, label, weight in zip(*batch, strict=True)
        if weight > 0
    ]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("augment", [None, add_noise], ids=["plain", "augmented"])
def test_workers_together_see_the_global_batches(
    split: Split, tmp_path: Path, world: int, augment: Augmenter | None
) -> None:
    """Step by step, the workers' rows in rank order are the rows of a single worker, changed pixels included."""
    alone = epoch_of(split, BatchPlan(batch_size=8, pieces=2), tmp_path, augment=augment)
    parts = [
        epoch_of(split, BatchPlan(batch_size=8, pieces=2, rank=rank, world=world), tmp_path, augment=augment)
        for rank in range(world)
    ]
    assert {len(part) for part in parts} == {len(alone)}
    for step, batch in enumerate(alone):
        together = [row[:2] for part in parts for row in valid([part[step]])]
        assert together == [row[:2] for row in valid([batch])]


def test_an_epoch_holds_every_picture_once_with_its_label(
    split: Split, pixels: NDArray[np.uint8], tmp_path: Path
) -> None:
    """Pixels are those of `decode_image`, in 0..255, each with its own class."""
    rows = valid(epoch_of(split, BatchPlan(batch_size=4), tmp_path))
    expected = [
        (picture.astype(np.float32).tobytes(), int(label)) for picture, label in zip(pixels, split.targets, strict=True)
    ]
    assert sorted(row[:2] for row in rows) == sorted(expected)


def test_shapes_are_static(split: Split, tmp_path: Path) -> None:
    """Every element has the same shapes and types, known before the first picture is read."""
    plan = BatchPlan(batch_size=9, pieces=3, rank=1, world=2)
    batches = epoch_of(split, plan, tmp_path)
    assert len(batches) == plan.steps(len(split)) == 6
    for pictures, labels, weights in batches:
        assert (pictures.shape, labels.shape, weights.shape) == ((2, 6, 8, 3), (2,), (2,))
        assert [str(part.dtype) for part in (pictures, labels, weights)] == ["float32", "int32", "float32"]


def test_weighted_keras_loss_is_the_mean_of_the_global_batch(split: Split, tmp_path: Path) -> None:
    """Keras' own loss on two workers' batches, averaged, equals the weighted mean worked out by hand."""
    import keras

    def logits(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.stack([pictures.mean(axis=(1, 2, 3)) / 50, pictures.std(axis=(1, 2, 3)) / 50], axis=-1)

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    parts = [epoch_of(split, BatchPlan(batch_size=8, rank=rank, world=2), tmp_path) for rank in range(2)]
    for step in range(2):
        batches = [part[step] for part in parts]
        averaged = np.mean([np.asarray(loss(y, logits(x), sample_weight=w)) for x, y, w in batches])
        rows = [(x[i], y[i]) for x, y, w in batches for i in range(len(y)) if w[i] > 0]
        scores = logits(np.stack([picture for picture, _ in rows])).astype(np.float64)
        classes = np.array([label for _, label in rows])
        negative_log = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(rows)), classes]
        assert averaged == pytest.approx((np.array([1.0, 2.0])[classes] * negative_log).mean(), rel=1e-5)


def test_start_step_goes_on_exactly(split: Split, tmp_path: Path) -> None:
    """An epoch entered in the middle gives what the whole one would have given from there."""
    plan = BatchPlan(batch_size=4, pieces=2)
    whole = epoch_of(split, plan, tmp_path, augment=add_noise)
    rest = epoch_of(split, plan, tmp_path, augment=add_noise, start_step=3)
    assert len(rest) == len(whole) - 3
    for expected, got in zip(whole[3:], rest, strict=True):
        for one, other in zip(expected, got, strict=True):
            np.testing.assert_array_equal(one, other)


def test_augmentation_changes_from_epoch_to_epoch(split: Split, tmp_path: Path) -> None:
    """The same epoch repeats itself; the next one shows the same pictures in another form."""
    plan = BatchPlan(batch_size=14)
    first, again, second = (valid(epoch_of(split, plan, tmp_path, epoch=n, augment=add_noise)) for n in (0, 0, 1))
    assert first == again
    assert not {row[0] for row in first} & {row[0] for row in second}


@pytest.mark.parametrize("world", [1, 2, 3, 20])
def test_evaluation_sees_each_example_exactly_once(
    split: Split, pixels: NDArray[np.uint8], tmp_path: Path, world: int
) -> None:
    """Worker r gets rows r, r + world, ... in order, the last batch short; a worker without rows gets nothing."""
    for rank in range(world):
        dataset = eval_batches(split, IMAGE, batch_size=3, rank=rank, world=world, cache_dir=tmp_path)
        batches = list(dataset.as_numpy_iterator())
        rows = np.arange(rank, len(split), world)
        assert [len(labels) for _, labels in batches] == [min(3, len(rows) - at) for at in range(0, len(rows), 3)]
        if len(rows):
            np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), pixels[rows].astype(np.float32))
            np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), split.targets[rows])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), "cannot be read any more"),
        (lambda path: path.write_bytes(b""), "content has changed"),
        (lambda path: write_picture(path, 4711), "content has changed"),
    ],
    ids=["gone", "empty", "another"],
)
@pytest.mark.parametrize("part", ["train", "evaluation"])
def test_picture_changed_since_the_scan(tmp_path: Path, damage: object, reason: str, part: str) -> None:
    """A picture that is gone, damaged or another one by now ends the run with its name, not with a TensorFlow trace."""
    assert callable(damage)
    write_folder(tmp_path / "train", {"cat": 4, "dog": 4})
    split = scan(tmp_path, train={"uri": "train"}).index.splits["train"]
    damage(Path(split.inputs[2]))
    if part == "train":
        dataset = train_batches(
            split,
            IMAGE,
            BatchPlan(batch_size=2),
            seed=0,
            phase=0,
            epoch=0,
            row_weights=None,
            augment=None,
            cache_dir=tmp_path,
        )
    else:
        dataset = eval_batches(split, IMAGE, batch_size=2, rank=0, world=1, cache_dir=tmp_path)
    with pytest.raises(ChangedDataError) as caught, readable_data_errors():
        list(dataset)
    assert split.inputs[2] in str(caught.value)
    assert reason in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_other_tensorflow_errors_pass() -> None:
    """Only errors about changed data are translated."""
    with pytest.raises(tf.errors.InvalidArgumentError), readable_data_errors():
        tf.reshape(tf.zeros(3), (2, 2))


def test_nothing_is_tuned_while_pictures_are_read(split: Split, tmp_path: Path) -> None:
    """The end of an iterator would wait for the thread that tunes: 5 s after an epoch of 5 s."""
    dataset = eval_batches(split, IMAGE, batch_size=3, rank=0, world=1, cache_dir=tmp_path)
    assert not dataset.map(lambda *columns: columns).options().autotune.enabled
