from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from graftwork.spec.fine_tune_job import Augment
from graftwork_jobs.model.augment import Augmenter, build_augmenter

_EACH: list[dict[str, Any]] = [
    {"flip": "horizontal"},
    {"flip": "vertical"},
    {"flip": "both"},
    {"rotate": 0.1},
    {"zoom": 0.2},
    {"translate": 0.1},
    {"contrast": 0.3},
    {"brightness": 0.2},
]
_CASES = [[entry] for entry in _EACH] + [_EACH]
_SEEDS = np.stack([np.arange(24), np.full(24, 7)], axis=1).astype(np.int32)


def _picture() -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(0).uniform(0, 255, (12, 16, 3)).astype(np.float32)


def _augmenter(entries: list[dict[str, Any]]) -> Augmenter:
    augment = build_augmenter([Augment(**entry) for entry in entries])
    assert augment is not None
    return augment


def _eager(augment: Augmenter, seeds: np.ndarray[Any, Any] = _SEEDS) -> list[np.ndarray[Any, Any]]:
    return [augment(tf.constant(_picture()), tf.constant(seed)).numpy() for seed in seeds]


def test_nothing_to_do_is_none() -> None:
    """Without entries there is no augmenter."""
    assert build_augmenter([]) is None


@pytest.mark.parametrize("entries", _CASES, ids=str)
def test_the_same_seed_gives_the_same_picture_in_a_parallel_pipeline(entries: list[dict[str, Any]]) -> None:
    """Graph and eager mode agree bit for bit, whatever ran before."""
    augment = _augmenter(entries)
    pipeline = tf.data.Dataset.from_tensor_slices(_SEEDS).map(
        lambda seed: augment(tf.constant(_picture()), seed), num_parallel_calls=2
    )
    for ours, theirs in zip(pipeline, reversed(_eager(_augmenter(entries), _SEEDS[::-1])), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("entries", _CASES, ids=str)
def test_pictures_keep_shape_and_range(entries: list[dict[str, Any]]) -> None:
    """Static shape stays known, values stay in 0..255, float32."""
    augment = _augmenter(entries)
    spec = tf.data.Dataset.from_tensor_slices(_SEEDS).map(lambda seed: augment(tf.constant(_picture()), seed))
    assert spec.element_spec == tf.TensorSpec((12, 16, 3), tf.float32)
    for picture in _eager(augment):
        assert picture.min() >= 0
        assert picture.max() <= 255


@pytest.mark.parametrize("entry", _EACH[3:], ids=str)
def test_different_seeds_give_different_pictures(entry: dict[str, Any]) -> None:
    """Continuous changes differ for every seed."""
    assert len({picture.tobytes() for picture in _eager(_augmenter([entry]))}) == len(_SEEDS)


def test_both_flips_are_drawn_separately() -> None:
    """`both` gives all four pictures, each exactly a mirror of the original."""
    original = _picture()
    expected = {mirror.tobytes() for mirror in (original, original[::-1], original[:, ::-1], original[::-1, ::-1])}
    assert {picture.tobytes() for picture in _eager(_augmenter([{"flip": "both"}]))} == expected


def test_contrast_goes_both_ways() -> None:
    """Some pictures get more contrast, some less, within the share asked for."""
    grey = np.clip(_picture() * 0.2 + 100, 0, 255)
    augment = _augmenter([{"contrast": 0.3}])
    ratios = [augment(tf.constant(grey), tf.constant(seed)).numpy().std() / grey.std() for seed in _SEEDS]
    assert 0.69 < min(ratios) < 0.9
    assert 1.1 < max(ratios) < 1.31


def test_brightness_moves_every_pixel_alike() -> None:
    """The change is one number a picture, at most the share of 255."""
    grey = tf.constant(np.full((4, 4, 3), 128, np.float32))
    augment = _augmenter([{"brightness": 0.2}])
    changes = [augment(grey, tf.constant(seed)).numpy() - 128 for seed in _SEEDS]
    assert all(np.ptp(change) == 0 for change in changes)
    assert -51 <= min(change.min() for change in changes) < 0 < max(change.max() for change in changes) <= 51


def test_two_entries_of_one_kind_draw_separately() -> None:
    """The second of two equal entries does not undo or repeat the first's draw."""
    once = _eager(_augmenter([{"flip": "horizontal"}]))
    twice = _eager(_augmenter([{"flip": "horizontal"}, {"flip": "horizontal"}]))
    assert any(not np.array_equal(one, two) for one, two in zip(once, twice, strict=True))
    assert any(not np.array_equal(two, _picture()) for two in twice)
