"""Answers averaged over mirror images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from graftwork.spec.fine_tune_job import Mirror
from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.export.engines import export_openvino, openvino_engine
from graftwork_jobs.model.network import Network, inference_model
from graftwork_jobs.targets.classes import ClassTarget
from graftwork_jobs.train.evaluate import Evaluator

_TARGET = ClassTarget(("a", "b", "c"))
_PIXELS = np.random.default_rng(1).uniform(0, 3, (5, 16, 16, 3)).astype(np.float32)
_IMAGES: dict[Mirror, list[NDArray[np.float32]]] = {
    "horizontal": [_PIXELS, _PIXELS[:, :, ::-1]],
    "vertical": [_PIXELS, _PIXELS[:, ::-1]],
    "both": [_PIXELS, _PIXELS[:, :, ::-1], _PIXELS[:, ::-1], _PIXELS[:, ::-1, ::-1]],
}


@pytest.fixture
def network(small_network: Network) -> Network:
    """One whose answers differ from picture to picture, and from a picture to its mirror images."""
    keras.utils.set_random_seed(3)
    for weight in small_network.head.weights:
        weight.assign(np.random.default_rng(2).normal(size=weight.shape))
    return small_network


def _answers(network: Network, pixels: NDArray[np.float32]) -> NDArray[Any]:
    return np.asarray(_TARGET.predictions(network.model(pixels, training=False)))


@pytest.mark.parametrize("mirror", ["horizontal", "vertical", "both"])
def test_the_bundles_model_answers_with_the_mean(network: Network, mirror: Mirror, tmp_path: Path) -> None:
    """As by hand; in Keras, loaded in safe mode, and in OpenVINO, for any number of pictures."""
    expected = np.mean([_answers(network, pixels) for pixels in _IMAGES[mirror]], axis=0)
    assert np.abs(expected - _answers(network, _PIXELS)).max() > 1e-4
    model = inference_model(network, _TARGET.finish, mirror)
    assert (model.inputs[0].name, model.output_names) == ("image", ["scores"])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    export_openvino(model, tmp_path / "model.xml")
    engine = openvino_engine(tmp_path / "model.xml")
    for rows in (5, 1):
        np.testing.assert_allclose(np.asarray(loaded(_PIXELS[:rows])), expected[:rows], atol=1e-5)
        np.testing.assert_allclose(engine(_PIXELS[:rows]), expected[:rows], atol=1e-4)


@pytest.mark.parametrize("mirror", [None, "horizontal", "both"])
def test_predictions_of_all_versions_come_from_one_pass(network: Network, mirror: Mirror | None) -> None:
    """The picture first, then its mirror images."""
    wanted = [_PIXELS] if mirror is None else _IMAGES[mirror]
    evaluator = Evaluator(network.model, _TARGET, Collectives(rank=0, world=1))
    batches = tf.data.Dataset.from_tensor_slices((_PIXELS, np.zeros(5, np.int32))).batch(2)
    found = evaluator.predictions(batches, examples=5, pulse=lambda: None, mirror=mirror)
    np.testing.assert_allclose(found, [_answers(network, pixels) for pixels in wanted], atol=1e-6)
