from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graftwork_serving.explain.shares import place_shares

RANDOM = np.random.default_rng(7)


def linear_head(weights: np.ndarray, bias: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Average pooling over height and width (NCHW), then one linear layer."""
    return lambda maps: maps.mean(axis=(2, 3)) @ weights + bias


def test_under_average_pooling_and_a_linear_layer_it_is_the_class_activation_map() -> None:
    """The weights of the label times the map, divided by its places; with the constant they add up to the logit."""
    maps = RANDOM.normal(size=(1, 6, 5, 4)).astype(np.float32)
    weights, bias = RANDOM.normal(size=(6, 3)), RANDOM.normal(size=3)
    shares = place_shares(maps, linear_head(weights, bias), 1, (2, 3))
    expected = np.einsum("khw,k->hw", maps[0], weights[:, 1]) / 20
    np.testing.assert_allclose(shares, expected, atol=1e-5)
    assert shares.sum() + bias[1] == pytest.approx(float(linear_head(weights, bias)(maps)[0, 1]), abs=1e-5)


def test_maps_with_channels_last_give_the_same() -> None:
    """Only where height and width stand differs."""
    maps = RANDOM.normal(size=(1, 6, 5, 4)).astype(np.float32)
    weights, bias = RANDOM.normal(size=(6, 3)), np.zeros(3)
    first = place_shares(maps, linear_head(weights, bias), 0, (2, 3))
    last = place_shares(
        maps.transpose(0, 2, 3, 1), lambda each: linear_head(weights, bias)(each.transpose(0, 3, 1, 2)), 0, (1, 2)
    )
    np.testing.assert_allclose(first, last, atol=1e-5)


def test_under_maximum_pooling_only_the_largest_places_count() -> None:
    """A place that is nowhere the largest changes nothing when it is gone."""
    maps = np.zeros((1, 2, 3, 3), np.float32)
    maps[0, 0, 1, 2], maps[0, 1, 0, 0], maps[0, 0, 2, 2] = 5, 3, 4
    shares = place_shares(maps, lambda each: each.max(axis=(2, 3)) @ np.asarray([[1.0], [2.0]]), 0, (2, 3))
    expected = np.zeros((3, 3))
    expected[1, 2], expected[0, 0] = 5 - 4, 2 * 3
    np.testing.assert_allclose(shares, expected)


def test_large_maps_are_told_in_blocks_that_still_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 16 cells a side, and little memory at once, change neither sum nor order."""
    monkeypatch.setattr("graftwork_serving.explain.shares._MOST_BYTES_AT_ONCE", 40_000)
    maps = RANDOM.normal(size=(1, 2, 40, 35)).astype(np.float32)
    head = linear_head(np.asarray([[1.0], [0.5]]), np.zeros(1))
    shares = place_shares(maps, head, 0, (2, 3))
    assert shares.shape == (16, 16)
    assert shares.sum() == pytest.approx(float(head(maps)[0, 0]), abs=1e-4)
    place = (maps[0, 0] + 0.5 * maps[0, 1]) / (40 * 35)
    np.testing.assert_allclose(shares[0, 0], place[:2, :2].sum(), atol=1e-5)
