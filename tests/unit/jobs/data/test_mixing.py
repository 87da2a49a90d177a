"""Mixed pictures: who with whom, how much, and what is then to be predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from graftwork.preprocess.image import ImageSpec, decode_image
from graftwork.spec.fine_tune_job import Augment
from graftwork_jobs.data.batch_plan import BatchPlan, augmentation_seeds, partner_seeds
from graftwork_jobs.data.index import Split
from graftwork_jobs.data.mixing import EpochMix, Mixing, epoch_mix, mixing_of
from graftwork_jobs.data.pipeline import train_batches
from tests.unit.jobs.data.pictures import scan, write_folder

SIZE = (8, 12)
WHERE = {"seed": 3, "phase": 1, "epoch": 2}
MIXUP = Mixing(mixup=0.4, cutmix=None, classes=2)
CUTMIX = Mixing(mixup=None, cutmix=1.0, classes=2)
BOTH = Mixing(mixup=0.4, cutmix=1.0, classes=2)


@pytest.fixture
def split(tmp_path: Path) -> Split:
    write_folder(tmp_path / "train", {"cat": 6, "dog": 5})
    return scan(tmp_path, train={"uri": "train"}).index.splits["train"]


def _add_noise(picture: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return picture + tf.random.stateless_uniform(tf.shape(picture), seed)


def _epoch(split: Split, cache: Path, mixing: Mixing, **plan: Any) -> list[tuple[NDArray[Any], ...]]:
    dataset = train_batches(
        split,
        ImageSpec(height=SIZE[0], width=SIZE[1]),
        BatchPlan(**plan),
        **WHERE,
        row_weights=np.array([0.5, 2.0], np.float32)[split.targets],
        augment=_add_noise,
        mixing=mixing,
        cache_dir=cache,
    )
    return [(x, y, w) for x, y, w in dataset.as_numpy_iterator()]


def _by_hand(split: Split, mix: EpochMix) -> dict[bytes, tuple[NDArray[Any], float]]:
    """What mixed pictures are to predict and how much they count: by their pixels."""
    pixels = np.stack(
        [decode_image(Path(uri).read_bytes(), ImageSpec(height=SIZE[0], width=SIZE[1])) for uri in split.inputs]
    ).astype(np.float32)
    rows = np.arange(len(split))
    own = [_add_noise(pixels[row], augmentation_seeds(rows, **WHERE)[row]).numpy() for row in rows]
    seeds = partner_seeds(rows, **WHERE)
    other = [_add_noise(pixels[row], seeds[row]).numpy() for row in rows]
    made, class_weights = {}, [0.5, 2.0]
    for row in rows:
        partner, share = int(mix.partners[row]), float(mix.shares[row])
        top, bottom, left, right = mix.boxes[row]
        picture = mix.outside[row] * own[row] + (1 - mix.outside[row]) * other[partner]
        picture[top:bottom, left:right] = other[partner][top:bottom, left:right]
        target = share * np.eye(2)[split.targets[row]] + (1 - share) * np.eye(2)[split.targets[partner]]
        weight = share * class_weights[split.targets[row]] + (1 - share) * class_weights[split.targets[partner]]
        made[np.round(picture).tobytes()] = (target, weight)
    return made


@pytest.mark.parametrize("mixing", [MIXUP, CUTMIX, BOTH], ids=["mixup", "cutmix", "both"])
def test_pictures_targets_and_weights_are_mixed_as_by_hand(split: Split, tmp_path: Path, mixing: Mixing) -> None:
    """Each example once, after its own random change, with another one after another change."""
    wanted = _by_hand(split, epoch_mix(len(split), mixing, SIZE, **WHERE))
    batches = _epoch(split, tmp_path, mixing, batch_size=len(split))
    ((pictures, targets, weights),) = batches
    assert len(wanted) == len(split)
    for picture, target, weight in zip(pictures, targets, weights, strict=True):
        expected_target, expected_weight = wanted[np.round(picture).tobytes()]
        np.testing.assert_allclose(target, expected_target, atol=1e-6)
        assert weight == pytest.approx(expected_weight, rel=1e-5)


@pytest.mark.parametrize("world", [2, 3])
def test_workers_together_see_the_global_batches(split: Split, tmp_path: Path, world: int) -> None:
    """Step by step, bit by bit; a partner may be on another worker, or in another batch."""
    alone = _epoch(split, tmp_path, BOTH, batch_size=8, pieces=2)
    parts = [_epoch(split, tmp_path, BOTH, batch_size=8, pieces=2, rank=rank, world=world) for rank in range(world)]
    for step, batch in enumerate(alone):
        own = [[row[weight > 0] for row in (x, y)] for x, y, weight in [batch]]
        together = [[row[weight > 0] for row in (x, y)] for x, y, weight in (part[step] for part in parts)]
        for position in range(2):
            joined = np.concatenate([each[position] for each in together])
            np.testing.assert_array_equal(joined, own[0][position])


@pytest.mark.parametrize(
    ("mixing", "mean"),
    [(MIXUP, 0.5), (CUTMIX, None), (BOTH, None)],
    ids=["mixup", "cutmix", "both"],
)
def test_shares_follow_from_pixels(mixing: Mixing, mean: float | None) -> None:
    """The target's share is the mean over the pixels of the example's own; on average that of the distribution."""
    mix = epoch_mix(4000, mixing, SIZE, **WHERE)
    rows, columns = np.arange(SIZE[0])[None, :, None], np.arange(SIZE[1])[None, None, :]
    top, bottom, left, right = (mix.boxes[:, corner, None, None] for corner in range(4))
    inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    own = np.where(inside, 0.0, mix.outside[:, None, None]).mean(axis=(1, 2))
    np.testing.assert_allclose(mix.shares, own, atol=1e-6)
    assert np.sort(mix.partners).tolist() == list(range(4000))
    if mean is not None:
        assert mix.shares.mean() == pytest.approx(mean, abs=0.03)


def test_with_both_each_picture_gets_one_of_them() -> None:
    """Half of them are pasted, half blended."""
    mix = epoch_mix(4000, BOTH, SIZE, **WHERE)
    assert (mix.outside == 1.0).mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("change", [{"seed": 4}, {"phase": 0}, {"epoch": 3}], ids=str)
def test_every_epoch_mixes_anew(change: dict[str, int]) -> None:
    """Other partners, and other shares."""
    one, other = (epoch_mix(40, BOTH, SIZE, **{**WHERE, **each}) for each in ({}, change))
    assert not np.array_equal(one.partners, other.partners)
    assert not np.array_equal(one.shares, other.shares)


def test_numbers_are_averaged(split: Split, tmp_path: Path) -> None:
    """Targets that are no class numbers: those of a regression, or a column a label."""
    numbers = np.random.default_rng(0).normal(size=(len(split), 3)).astype(np.float32)
    of_numbers = Split(name="train", inputs=split.inputs, targets=numbers, digests=split.digests)
    mixing = Mixing(mixup=0.4, cutmix=None, classes=None)
    mix = epoch_mix(len(split), mixing, SIZE, **WHERE)
    dataset = train_batches(
        of_numbers,
        ImageSpec(height=SIZE[0], width=SIZE[1]),
        BatchPlan(batch_size=len(split)),
        **WHERE,
        row_weights=None,
        augment=None,
        mixing=mixing,
        cache_dir=tmp_path,
    )
    ((_, targets, _),) = dataset.as_numpy_iterator()
    share = mix.shares[:, None]
    wanted = share * numbers + (1 - share) * numbers[mix.partners]
    np.testing.assert_allclose(np.sort(targets, axis=0), np.sort(wanted, axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    ("entries", "wanted"),
    [
        ([{"flip": "horizontal"}], None),
        ([{"flip": "horizontal"}, {"mixup": 0.4}], MIXUP),
        ([{"cutmix": 1.0}], CUTMIX),
        ([{"cutmix": 1.0}, {"mixup": 0.4}], BOTH),
    ],
    ids=str,
)
def test_the_spec_says_how(entries: list[dict[str, Any]], wanted: Mixing | None) -> None:
    """Entries of `augment` that mix, in any order."""
    assert mixing_of([Augment.model_validate(entry) for entry in entries], classes=2) == wanted
