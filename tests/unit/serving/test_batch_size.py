from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from graftwork_serving.batch_size import best_batch_size, seconds_an_example


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({1: 1.0, 4: 0.5, 16: 0.3, 64: 0.29}, 16),
        ({1: 1.0, 4: 0.9, 16: 0.1}, 1),
        ({1: 5e-5, 2: 4.9e-5, 4: 2e-5, 8: 1.9e-5}, 4),
        ({1: 1.0}, 1),
    ],
    ids=["pays up to 16", "does not pay", "short passes are all tried", "nothing to try"],
)
def test_a_batch_grows_while_it_pays(seconds: dict[int, float], expected: int) -> None:
    """Each step has to make a pass cheaper an example; one that takes long and does not is the last."""
    assert best_batch_size(seconds.__getitem__, sorted(seconds)) == expected


def test_one_undisturbed_pass_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short passes are timed until one of them is not disturbed."""
    now, calls = 0.0, 0

    def run(batch: np.ndarray) -> np.ndarray:
        nonlocal now, calls
        calls += 1
        now += 1e-4 if calls == 8 else 1e-3
        return np.zeros((len(batch), 1), np.float32)

    monkeypatch.setattr("graftwork_serving.batch_size.time", SimpleNamespace(perf_counter=lambda: now))
    assert seconds_an_example(run, np.zeros(3, np.uint8), 2) == pytest.approx(0.5e-4)
