"""Every architecture through the whole of `graftwork_jobs.model`: build, freeze, save, load elsewhere, export."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from graftwork.openvino_core import openvino_core
from graftwork.progress import SilentReporter
from graftwork.spec.fine_tune_job import Backbone, Head, Unfreeze
from graftwork_jobs.model.backbone import load_backbone
from graftwork_jobs.model.catalog import ARCHITECTURES
from graftwork_jobs.model.freeze import apply_freeze, backbone_layers, resolve_unfreeze
from graftwork_jobs.model.network import DropoutSlice, Network, build_network, inference_model
from graftwork_jobs.targets.classes import ClassTarget

# One for each way of scaling: inside the network, -1..1, BGR.
_IN_EVERY_RUN = ("EfficientNetB0", "MobileNetV2", "ResNet50")
_ARCHITECTURES = [pytest.param(name, marks=() if name in _IN_EVERY_RUN else pytest.mark.slow) for name in ARCHITECTURES]
_ROWS = 16
_CLASSES = 5
_BARE_KERAS = """
import sys
sys.modules["graftwork"] = sys.modules["graftwork_jobs"] = sys.modules["keras_hub"] = None
import keras, numpy
for line in sys.stdin:
    model_file, pixels_file, scores_file = line.split()
    numpy.save(scores_file, keras.models.load_model(model_file, safe_mode=True)(numpy.load(pixels_file)).numpy())
    print("done", flush=True)
"""


@pytest.fixture(scope="module")
def bare_keras() -> Iterator[subprocess.Popen[str]]:
    """A process that knows Keras and nothing of ours; started once, because importing TensorFlow takes seconds."""
    with subprocess.Popen(
        [sys.executable, "-c", _BARE_KERAS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def _network(name: str, tmp_path: Path, *, batch_norm_training: bool = False) -> Network:
    architecture = ARCHITECTURES[name]
    side = max(64, 2 * architecture.min_image_size)
    backbone = load_backbone(
        Backbone(name=name, weights="none"),
        image_size=(side, side),
        base_dir=tmp_path,
        weights_dir=tmp_path,
        reporter=SilentReporter(),
        seed=3,
    )
    network = build_network(
        backbone,
        Head(hidden=[8], dropout=0.2),
        outputs=_CLASSES,
        seed=1,
        batch_norm_training=batch_norm_training,
        dropout_slice=DropoutSlice(rows=_ROWS, offset=0),
    )
    _let_signals_through(network)
    # The last layer starts from zero, which would hide the backbone.
    kernel = network.head.layers[-1].kernel
    kernel.assign(np.random.default_rng(1).normal(scale=kernel.shape[0] ** -0.5, size=kernel.shape))
    return network


def _pixels(network: Network) -> np.ndarray[Any, np.dtype[np.float32]]:
    _, height, width, _ = network.model.input_shape
    return np.random.default_rng(0).uniform(0, 255, (_ROWS, height, width, 3)).astype(np.float32)


def _let_signals_through(network: Network) -> None:
    """Give normalisation layers the statistics of a batch: random deep networks else shrink or blow up their signal."""
    for layer in backbone_layers(network):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum, layer.kept_momentum = 0.0, layer.momentum
    keras.Model(network.backbone.inputs[0], network.backbone.outputs[0])(_pixels(network), training=True)
    for layer in backbone_layers(network):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = layer.kept_momentum


def _count(network: Network) -> int:
    return sum(math.prod(weight.shape) for weight in network.model.trainable_weights)


@pytest.mark.parametrize("name", _ARCHITECTURES)
def test_an_architecture_goes_all_the_way(name: str, bare_keras: subprocess.Popen[str], tmp_path: Path) -> None:
    """Freezing counts right; the bundle's model answers alike in a bare Keras and in OpenVINO."""
    network = _network(name, tmp_path)
    pixels = _pixels(network)

    for unfreeze in ("none", Unfreeze(last_layers=5), Unfreeze(fraction=0.4), "all"):
        boundary = resolve_unfreeze(network, unfreeze)
        apply_freeze(network, boundary)
        assert boundary.trainable_parameters == _count(network)
    assert boundary.total_parameters == network.model.count_params()

    model = inference_model(network, ClassTarget(tuple(map(str, range(_CLASSES)))).finish)
    expected = model(pixels).numpy()
    logits = network.model(pixels, training=False).numpy()
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(expected, powers / powers.sum(axis=1, keepdims=True), atol=1e-5)
    assert np.ptp(expected) > 1e-4
    assert np.abs(expected[0] - expected[1]).max() > 1e-5, "the answer must depend on the picture"

    np.testing.assert_allclose(_scores_elsewhere(bare_keras, model, pixels, tmp_path), expected, atol=1e-6)
    # Random deep networks magnify rounding: allow what a millionth of change in the picture makes, or 1e-4.
    magnified = np.abs(model(pixels * np.float32(1 + 1e-6)).numpy() - expected).max()
    np.testing.assert_allclose(_scores_of_openvino(model, pixels, tmp_path), expected, atol=max(1e-4, magnified))
    assert magnified < 1e-2, "the comparison must mean something"


def _scores_elsewhere(
    process: subprocess.Popen[str], model: keras.Model, pixels: np.ndarray[Any, Any], folder: Path
) -> np.ndarray[Any, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    model_file, pixels_file, scores_file = (folder / name for name in ("model.keras", "pixels.npy", "scores.npy"))
    model.save(model_file)
    np.save(pixels_file, pixels)
    process.stdin.write(f"{model_file} {pixels_file} {scores_file}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n", "the model does not load without our packages"
    return np.asarray(np.load(scores_file))


def _scores_of_openvino(model: keras.Model, pixels: np.ndarray[Any, Any], folder: Path) -> np.ndarray[Any, Any]:
    file = str(folder / "model.xml")
    model.export(file, format="openvino", verbose=False)
    core = openvino_core()
    compiled = core.compile_model(core.read_model(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(compiled(pixels)[0])
