"""How many examples share a pass, measured when a model is loaded: as many as make it cheaper an example."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A batch must be this much cheaper an example than single passes to be worth the wait for its slowest member.
_WORTHWHILE_SHARE = 0.85
_TIMING_ROUNDS = 5
# Short passes are timed more often, as what else the machine does must not be in all timings of one size.
_TIMING_S = 10e-3
# A batch that takes longer and does not pay is the last one tried.
_LONG_S = 1e-3


def best_batch_size(seconds: Callable[[int], float], sizes: Sequence[int]) -> int:
    """The largest size that pays beside the one below; of long passes only those up to which every step pays.

    Args:
        seconds: what a pass over so many examples takes, an example.
        sizes: to try, from 1 upwards.
    """
    best, best_s = sizes[0], seconds(sizes[0])
    for size in sizes[1:]:
        took = seconds(size)
        if took <= best_s * _WORTHWHILE_SHARE:
            best, best_s = size, took
        elif took * size > _LONG_S:
            break
    return best


def seconds_an_example(run: Callable[[NDArray[Any]], NDArray[np.float32]], trial: NDArray[Any], size: int) -> float:
    """The best of some passes over so many copies of an example; one more before them warms up."""
    batch = np.repeat(trial[None], size, axis=0)
    run(batch)
    taken: list[float] = []
    while len(taken) < _TIMING_ROUNDS or sum(taken) < _TIMING_S:
        began = time.perf_counter()
        run(batch)
        taken.append(time.perf_counter() - began)
    return min(taken) / size
