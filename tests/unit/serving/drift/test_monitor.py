from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graftwork.bundle.drift import DriftReference, drift, drift_reference, project
from graftwork_serving.drift.monitor import DriftMonitor, FeatureSource
from graftwork_serving.endpoint_config import DriftConfig
from graftwork_serving.served_model import ServedModel
from graftwork_serving.service import Prediction
from tests.unit.serving.models import version

RANDOM = np.random.default_rng(5)
WINDOW = 50


def pixels(count: int, *, mean: int = 100) -> np.ndarray:
    return np.clip(RANDOM.normal(mean, 30, (count, 4, 4, 3)), 0, 255).astype(np.uint8)


def flat(batch: np.ndarray) -> np.ndarray:
    return batch.reshape(len(batch), -1).astype(np.float32)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> ServedModel:
    """A model whose features are its pixels."""
    monkeypatch.setattr("graftwork.bundle.feature_map.pooled_features", lambda *_, **__: flat)
    reference = drift_reference(flat(pixels(200)))
    assert isinstance(reference, DriftReference)
    return replace(version("3"), feature_source=FeatureSource(model_file=Path("m.xml"), reference=reference))


def asked(model: ServedModel, examples: Any) -> Prediction:
    return Prediction(model=model, scores=np.zeros((len(examples), 2), np.float32), seconds=0.0, examples=examples)


def watch(
    predictions: list[Prediction], *, sample: float = 1.0, draw: Callable[[], float] = lambda: 0.5
) -> list[tuple[str, float]]:
    """What was published of some predictions, each taken up before the next comes."""
    found: list[tuple[str, float]] = []
    monitor = DriftMonitor(
        DriftConfig(sample=sample, window=WINDOW), lambda model, value: found.append((model.version, value)), draw=draw
    )
    for each in predictions:
        while monitor._waiting.qsize() > 16:
            threading.Event().wait(0.001)
        monitor.add(each)
    monitor.close()
    return found


def test_it_tells_the_drift_of_the_newest_examples(model: ServedModel) -> None:
    """Once the window is full, and after each tenth example again; the formula's number."""
    examples = pixels(70)
    found = watch([asked(model, [example]) for example in examples])
    source = model.feature_source
    assert source is not None
    expected = [drift(source.reference, project(flat(examples[end - WINDOW : end]))) for end in (50, 60, 70)]
    assert [name for name, _ in found] == ["3"] * 3
    assert [value for _, value in found] == pytest.approx(expected)
    assert expected[0] < 2


def test_other_examples_show(model: ServedModel) -> None:
    """Brighter pictures than those of the test."""
    assert watch([asked(model, [example]) for example in pixels(WINDOW, mean=130)])[0][1] > 5


def test_only_a_sample_is_looked_at(model: ServedModel) -> None:
    """Half of a hundred examples fill a window of fifty."""
    draws = iter([0.1, 0.9] * 100)
    found = watch([asked(model, [example]) for example in pixels(100)], sample=0.5, draw=lambda: next(draws))
    assert len(found) == 1


def test_models_without_a_reference_and_broken_examples_are_passed_over(model: ServedModel) -> None:
    """Neither ends the watch."""
    without = replace(model, feature_source=None)
    before = [asked(without, [pixels(1)[0]]), asked(model, [b"no picture"])]
    assert len(watch(before + [asked(model, [example]) for example in pixels(WINDOW)])) == 1


def test_an_endpoint_that_is_asked_too_fast_leaves_examples_out(model: ServedModel) -> None:
    """A request never waits for the watch."""
    monitor = DriftMonitor(DriftConfig(sample=1.0, window=WINDOW), lambda *_: None)
    blocked = threading.Event()
    slow = replace(model, reader=Blocked(blocked))
    for _ in range(100):
        monitor.add(asked(slow, [b"x"]))
    assert monitor._waiting.full()
    blocked.set()
    monitor.close()


class Blocked:
    """Reads nothing until it may."""

    def __init__(self, until: threading.Event) -> None:
        self._until = until
        self.spec: Any = None
        self.row_shape = (4, 4, 3)

    def trial(self) -> np.ndarray:
        return np.asarray(pixels(1)[0])

    def decode(self, data: bytes) -> np.ndarray:
        self._until.wait(10)
        return np.asarray(pixels(1)[0])

    def stack(self, examples: Any) -> np.ndarray:
        return np.stack(examples)
