"""A network cut in two computes what it computed whole."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest

from graftwork.progress import SilentReporter
from graftwork.spec.fine_tune_job import Backbone, Head, Unfreeze
from graftwork_jobs.features.phase_cut import PhaseCut, cut_for_phase
from graftwork_jobs.model.backbone import LoadedBackbone, load_backbone
from graftwork_jobs.model.dropout import DropoutSlice
from graftwork_jobs.model.freeze import FreezeBoundary, apply_freeze, backbone_layers, resolve_unfreeze
from graftwork_jobs.model.network import Network, build_network
from graftwork_jobs.train.objective import TrainingModel
from tests.unit.jobs.features.graphs import ancestors, possible_cuts

SIDE = 32
PICTURES = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3)).astype(np.float32)
# Chains, inverted residuals, residuals with projections, dense blocks, and cells that read the cell before the last.
ARCHITECTURES = ["VGG16", "MobileNetV2", "ResNet50", "DenseNet121", "NASNetMobile"]
FRACTIONS = [0.02, 0.3, 0.6]


@cache
def _architecture(name: str) -> Network:
    backbone = load_backbone(
        Backbone(name=name, weights="none"),
        image_size=(SIDE, SIDE),
        base_dir=Path("unused"),
        weights_dir=Path("unused"),
        reporter=SilentReporter(),
        seed=0,
    )
    return _network(backbone.model)


def _network(backbone: keras.Model, *, batch_norm_training: bool = False) -> Network:
    size = backbone.input_shape[1:3]
    loaded = LoadedBackbone(
        model=backbone, source="test", weights="none", digest="", preprocessing="none", image_size=size
    )
    part = DropoutSlice(rows=8, offset=0)
    return build_network(loaded, Head(), outputs=4, seed=1, batch_norm_training=batch_norm_training, dropout_slice=part)


def _frozen(network: Network, unfreeze: object) -> FreezeBoundary:
    boundary = resolve_unfreeze(network, unfreeze)  # type: ignore[arg-type]
    apply_freeze(network, boundary)
    return boundary


def _cut(network: Network, unfreeze: object) -> PhaseCut:
    cut = cut_for_phase(network, _frozen(network, unfreeze))
    assert cut is not None
    return cut


@pytest.mark.parametrize("fraction", FRACTIONS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_cut_is_the_best_that_brute_force_finds(name: str, fraction: float) -> None:
    """One tensor crosses, nothing that trains lies below it, and no other such cut has more below it."""
    network = _architecture(name)
    boundary = _frozen(network, Unfreeze(fraction=fraction))
    possible = possible_cuts(network.backbone, set(boundary.trainable_layers))
    cut = cut_for_phase(network, boundary)
    assert cut is not None
    assert cut.name == possible[-1]
    assert not ancestors(network.backbone, cut.name) & set(boundary.trainable_layers)


@pytest.mark.parametrize("unfreeze", ["none", Unfreeze(fraction=0.3)], ids=["frozen", "partial"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_trunk_then_top_is_the_network(name: str, unfreeze: object) -> None:
    """The same logits."""
    network = _architecture(name)
    cut = _cut(network, unfreeze)
    features = cut.trunk(PICTURES, training=False)
    assert features.shape[1:] == cut.shape
    expected = network.model(PICTURES, training=False).numpy()
    np.testing.assert_allclose(cut.top()(features).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_cut_never_lies_inside_a_residual_block() -> None:
    """With a boundary in the middle of a block of ResNet50, the cut is the output of the block before."""
    network = _architecture("ResNet50")
    assert _cut(network, Unfreeze(from_layer="conv4_block3_2_conv")).name == "conv4_block2_out"


@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50"])
def test_a_frozen_backbone_is_cut_after_pooling(name: str) -> None:
    """A vector an example, and all of the backbone below."""
    network = _architecture(name)
    cut = _cut(network, "none")
    assert cut.shape == (network.backbone.output_shape[-1],)
    assert cut.rest is None
    expected = network.backbone(PICTURES, training=False).numpy().mean(axis=(1, 2))
    np.testing.assert_allclose(cut.trunk(PICTURES, training=False).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_nothing_is_cut_off_when_all_trains(name: str) -> None:
    """Scaling alone is not worth keeping."""
    network = _architecture(name)
    assert cut_for_phase(network, _frozen(network, "all")) is None


def test_the_parts_train_the_networks_variables() -> None:
    """What a phase trains on features is what it would train on pictures: the very same variables."""
    network = _architecture("MobileNetV2")
    cut = _cut(network, Unfreeze(fraction=0.3))
    assert not cut.trunk.trainable_variables
    model = TrainingModel(network.model, backbone=cut.rest, head=cut.head, backbone_trains=False)
    assert {id(variable) for variable in model.trainable_variables} == {
        id(variable) for variable in network.model.trainable_variables
    }
    top = cut.top().trainable_variables
    assert {id(variable) for variable in top} == {id(variable) for variable in network.model.trainable_variables}


def test_phases_can_be_cut_one_after_another() -> None:
    """Each cut leaves the network as it was, whatever was cut before."""
    network = _architecture("MobileNetV2")
    expected = network.model(PICTURES, training=False).numpy()
    for unfreeze in ("none", Unfreeze(fraction=0.5), "none", Unfreeze(fraction=0.1)):
        cut = _cut(network, unfreeze)
        outputs = cut.top()(cut.trunk(PICTURES, training=False)).numpy()
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


def _input_skip(image: keras.KerasTensor) -> keras.KerasTensor:
    inner = keras.layers.Conv2D(4, 3, padding="same", name="inner")(image)
    joined = keras.layers.Concatenate(name="joined")([inner, image])
    return keras.layers.Conv2D(5, 3, name="last")(joined)


def _operators(image: keras.KerasTensor) -> keras.KerasTensor:
    first = keras.layers.Conv2D(4, 3, padding="same", name="first")(image)
    inner = keras.layers.Conv2D(4, 3, padding="same", name="inner")(first)
    joined = keras.layers.ReLU(name="joined")(inner + first)
    return keras.layers.Conv2D(5, 3, name="last")(joined)


def _skip_by_operator_only(image: keras.KerasTensor) -> keras.KerasTensor:
    first = keras.layers.Conv2D(4, 3, padding="same", name="first")(image)
    joined = keras.layers.Conv2D(4, 3, padding="same", name="joined")(first)
    inner = keras.layers.Conv2D(4, 3, padding="same", name="inner")(joined)
    last = keras.layers.Conv2D(4, 3, padding="same", name="last")(inner)
    return keras.layers.ReLU(name="out")(last + joined)


def _two_outputs(image: keras.KerasTensor) -> keras.KerasTensor:
    first = keras.layers.Conv2D(4, 3, padding="same", name="first")(image)
    left, right = keras.ops.split(first, 2, axis=-1)
    inner = keras.layers.Conv2D(2, 3, padding="same", name="inner")(left)
    joined = keras.layers.Concatenate(name="joined")([inner, right])
    return keras.layers.Conv2D(5, 3, name="last")(joined)


def _shared_layer(image: keras.KerasTensor) -> keras.KerasTensor:
    relu = keras.layers.ReLU(name="relu")
    first = relu(keras.layers.Conv2D(4, 3, padding="same", name="first")(image))
    inner = relu(keras.layers.Conv2D(4, 3, padding="same", name="inner")(first))
    joined = keras.layers.Add(name="joined")([inner, first])
    return keras.layers.Conv2D(5, 3, name="last")(joined)


_HAND_MADE: list[tuple[Callable[[keras.KerasTensor], keras.KerasTensor], str, str | None]] = [
    (_input_skip, "last", "joined"),
    (_input_skip, "joined", None),
    (_operators, "last", "joined"),
    (_operators, "inner", "first"),
    (_skip_by_operator_only, "last", "joined"),
    (_two_outputs, "last", "joined"),
    (_two_outputs, "joined", "first"),
    (_shared_layer, "last", "joined"),
    (_shared_layer, "inner", "first"),
]


@pytest.mark.parametrize(("make", "boundary", "expected"), _HAND_MADE, ids=lambda part: getattr(part, "__name__", part))
def test_unusual_graphs(
    make: Callable[[keras.KerasTensor], keras.KerasTensor], boundary: str, expected: str | None
) -> None:
    """Skips from the picture, operators in place of layers, several outputs and layers called twice: cut by hand."""
    image = keras.Input((8, 8, 3), name="image")
    network = _network(keras.Model(image, make(image)))
    assert boundary in {layer.name for layer in backbone_layers(network)}
    frozen = _frozen(network, Unfreeze(from_layer=boundary))
    cut = cut_for_phase(network, frozen)
    assert (cut and cut.name) == expected
    if cut is not None:
        pictures = PICTURES[:, :8, :8]
        outputs = cut.top()(cut.trunk(pictures, training=False)).numpy()
        np.testing.assert_allclose(outputs, network.model(pictures, training=False).numpy(), rtol=1e-4, atol=1e-4)


def test_frozen_dropout_is_silent_and_may_lie_below_the_cut() -> None:
    """What is stored is what the trunk gives in every step: frozen dropout does nothing in training mode either."""
    image = keras.Input((8, 8, 3), name="image")
    inner = keras.layers.Conv2D(4, 3, name="first")(image)
    inner = keras.layers.Dropout(0.5, name="drop")(inner)
    inner = keras.layers.Conv2D(4, 3, name="last")(inner)
    output = keras.layers.Conv2D(4, 3, name="top")(inner)
    network = _network(keras.Model(image, output), batch_norm_training=True)
    boundary = resolve_unfreeze(network, Unfreeze(last_layers=1))
    apply_freeze(network, boundary)
    cut = cut_for_phase(network, boundary)
    assert cut is not None
    assert cut.name == "last"
    pictures = PICTURES[:, :8, :8]
    training, inference = (cut.trunk(pictures, training=mode).numpy() for mode in (True, False))
    np.testing.assert_array_equal(training, inference)
