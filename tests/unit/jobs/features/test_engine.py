"""OpenVINO runs a trunk only where that is worth its while and gives the same."""

from __future__ import annotations

import threading
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.features import engine as engine_module
from graftwork_jobs.features.engine import TOLERANCE, Engine, choose_engine, default_engine
from tests.unit.jobs.distributed.worlds import run_world

SIGNATURE = tf.TensorSpec([None, 8, 8, 3], tf.float32)
SAMPLE = tf.constant(np.random.default_rng(0).uniform(0, 255, (5, 8, 8, 3)).astype(np.float32))
MANY = 10**9
ALONE = Collectives(rank=0, world=1)


@pytest.fixture(scope="module")
def trunk() -> keras.Model:
    """A convolution with BatchNorm and dropout."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    inner = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(image))
    return keras.Model(image, keras.layers.Dropout(0.5)(keras.layers.ReLU()(inner)), name="trunk")


def _choose(trunk: keras.Model, *, left: int = MANY, collectives: Collectives = ALONE) -> Engine:
    return choose_engine(
        default_engine(trunk, SIGNATURE),
        trunk,
        SIGNATURE,
        SAMPLE,
        seconds=0.4,
        batches_left=left,
        collectives=collectives,
    )


def _times(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
    """What measuring TensorFlow, then OpenVINO, gives."""
    answers = iter(seconds)
    monkeypatch.setattr(engine_module, "_seconds", lambda *_: next(answers))


def test_the_faster_engine_is_used_and_computes_the_same(trunk: keras.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """For any number of rows, in inference mode."""
    _times(monkeypatch, 0.4, 0.2)
    engine = _choose(trunk)
    assert engine.name == "openvino"
    assert "2.0 times as fast" in engine.reason
    for rows in (5, 3, 1):
        np.testing.assert_allclose(
            engine.forward(SAMPLE[:rows]), trunk(SAMPLE[:rows], training=False), rtol=1e-4, atol=1e-4
        )


def test_outputs_of_one_batch_outlive_the_next(trunk: keras.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are copies, not the engine's own memory."""
    _times(monkeypatch, 0.4, 0.2)
    engine = _choose(trunk)
    first = engine.forward(SAMPLE)
    kept = first.copy()
    engine.forward(SAMPLE * 0)
    np.testing.assert_array_equal(first, kept)


def test_a_slower_engine_is_not_used(trunk: keras.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow stays; the reason says what was measured."""
    _times(monkeypatch, 0.2, 0.4)
    engine = _choose(trunk)
    assert engine.name == "tensorflow"
    assert "0.5 times as fast" in engine.reason


def test_little_work_is_not_worth_a_conversion(trunk: keras.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is converted, nothing computed twice; with more of it the question comes up again."""
    _times(monkeypatch)

    def convert(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(engine_module, "_openvino", convert)
    engine = _choose(trunk, left=3)
    assert (engine.name, engine.is_chosen) == ("tensorflow", False)


@pytest.mark.parametrize("wrong", [2 * TOLERANCE, float("nan")])
def test_an_engine_with_other_outputs_is_not_used(
    trunk: keras.Model, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    """However fast it is."""
    _times(monkeypatch, 0.4, 0.1)
    scale = float(np.abs(trunk(SAMPLE, training=False)).max())
    monkeypatch.setattr(
        engine_module, "_openvino", lambda *_: lambda inputs: trunk(inputs, training=False).numpy() + wrong * scale
    )
    engine = _choose(trunk)
    assert engine.name == "tensorflow"
    assert "outputs differ" in engine.reason


def test_a_trunk_that_cannot_be_converted_stays_with_tensorflow(
    trunk: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No error: TensorFlow runs every layer."""
    import openvino

    def refuse(*_: Any) -> None:
        raise RuntimeError("unknown operation")

    _times(monkeypatch, 0.4, 0.1)
    monkeypatch.setattr(openvino, "convert_model", refuse)
    assert _choose(trunk).name == "tensorflow"


def test_a_trunk_in_bfloat16_stays_with_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO would compute something else."""
    image = keras.Input((8, 8, 3))
    trunk = keras.Model(image, keras.layers.Conv2D(4, 3, dtype="mixed_bfloat16")(image))
    _times(monkeypatch, 0.4, 0.1)
    assert _choose(trunk).name == "tensorflow"


def test_all_workers_choose_alike(trunk: keras.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """One finds OpenVINO twice as fast, the other much slower: together they are slower, and neither uses it."""
    own = {0: [0.4, 0.2], 1: [0.4, 4.0]}
    calls: dict[str, list[float]] = {}

    def work(collectives: Collectives) -> str:
        calls[threading.current_thread().name] = list(own[collectives.rank])
        return _choose(trunk, collectives=collectives).name

    def seconds(*_: Any) -> float:
        return calls[threading.current_thread().name].pop(0)

    monkeypatch.setattr(engine_module, "_seconds", seconds)
    assert run_world(2, work) == ["tensorflow", "tensorflow"]
