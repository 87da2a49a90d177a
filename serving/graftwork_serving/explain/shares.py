"""How much each place of a feature map adds to an answer. Pure.

A place's share is how far the answer falls when the place is set to zero. For average pooling with one linear layer on
top this is the class activation map itself, whose shares add up to the answer without its constant. Hidden layers and
maximum pooling have no such sum; there the fall is what it says, without a gradient.

Source: Zhou et al. 2016, "Learning Deep Features for Discriminative Localization" (arXiv:1512.04150), equation 2.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

# Larger maps are looked at in blocks: as many passes through the head are enough for a picture of 16 by 16 places.
_MOST_CELLS_A_SIDE = 16
_MOST_BYTES_AT_ONCE = 32 << 20


def place_shares(
    features: NDArray[np.float32],
    head: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    column: int,
    axes: tuple[int, int],
) -> NDArray[np.float32]:
    """Each place's share of one answer.

    Args:
        features: map of one picture, shape (1, ...).
        head: maps, shape (batch, ...), to answers, shape (batch, labels).
        column: which label.
        axes: of height and width in `features`.

    Returns:
        Shares, shape (rows, columns), at most 16 each.
    """
    edges = [_edges(features.shape[axis]) for axis in axes]
    whole = float(head(features)[0, column])
    shares = [
        whole - answer for answers in _answers_without(features, head, axes, edges) for answer in answers[:, column]
    ]
    return np.asarray(shares, np.float32).reshape(len(edges[0]) - 1, len(edges[1]) - 1)


def _answers_without(
    features: NDArray[np.float32],
    head: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    axes: tuple[int, int],
    edges: list[NDArray[np.intp]],
) -> Iterator[NDArray[np.float32]]:
    """Answers without each cell, row by row, as many in a pass as memory allows."""
    rows, columns = edges
    cells = [
        (slice(top, bottom), slice(left, right))
        for top, bottom in itertools.pairwise(rows)
        for left, right in itertools.pairwise(columns)
    ]
    at_once = max(1, _MOST_BYTES_AT_ONCE // features.nbytes)
    for start in range(0, len(cells), at_once):
        batch = np.repeat(features, len(cells[start : start + at_once]), axis=0)
        for map_, (height, width) in zip(batch, cells[start : start + at_once], strict=True):
            index: list[slice] = [slice(None)] * map_.ndim
            index[axes[0] - 1], index[axes[1] - 1] = height, width
            map_[tuple(index)] = 0
        yield head(batch)


def _edges(size: int) -> NDArray[np.intp]:
    """Where the cells of a side begin and end."""
    return np.linspace(0, size, min(size, _MOST_CELLS_A_SIDE) + 1).round().astype(np.intp)
