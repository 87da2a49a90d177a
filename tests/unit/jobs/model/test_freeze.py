from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

from graftwork.errors import SpecError
from graftwork.spec.fine_tune_job import Head, Unfreeze
from graftwork_jobs.model.freeze import apply_freeze, backbone_layers, resolve_unfreeze
from graftwork_jobs.model.network import Network, build_network

from .conftest import LITE0, Load

# By hand for the small file (3 classes, one hidden layer of 6 units on 8 features).
_HEAD = (8 * 6 + 6) + (6 * 3 + 3)
_BLOCK2 = (3 * 3 * 4 * 8 + 8) + 2 * 8
_BLOCK1 = (3 * 3 * 3 * 4 + 4) + 2 * 4
_STATISTICS = 2 * 4 + 2 * 8

_SETTINGS: list[tuple[Literal["none", "all"] | Unfreeze, str | None, int]] = [
    ("none", None, _HEAD),
    ("all", "block1_conv", _HEAD + _BLOCK1 + _BLOCK2),
    (Unfreeze(from_layer="block2_bn"), "block2_bn", _HEAD + 2 * 8),
    (Unfreeze(from_layer="block2"), "block2_conv", _HEAD + _BLOCK2),
    (Unfreeze(last_layers=1), "block2_drop", _HEAD),
    (Unfreeze(last_layers=4), "block2_conv", _HEAD + _BLOCK2),
    (Unfreeze(fraction=0.5), "block2_conv", _HEAD + _BLOCK2),
    (Unfreeze(fraction=0.51), "block1_drop", _HEAD + _BLOCK2),
]


@pytest.mark.parametrize(("unfreeze", "first", "parameters"), _SETTINGS, ids=str)
def test_settings_train_what_they_say(
    small_network: Network, unfreeze: Literal["none", "all"] | Unfreeze, first: str | None, parameters: int
) -> None:
    """Boundary and parameter counts agree with a count by hand, and with what Keras then trains."""
    boundary = resolve_unfreeze(small_network, unfreeze)
    apply_freeze(small_network, boundary)
    assert boundary.first_trainable_layer == first
    assert boundary.trainable_parameters == parameters
    assert boundary.total_parameters == _HEAD + _BLOCK1 + _BLOCK2 + _STATISTICS
    assert sum(int(np.prod(weight.shape)) for weight in small_network.model.trainable_weights) == parameters


def test_resolving_changes_nothing(small_network: Network) -> None:
    """A plan can ask for every phase without touching the network."""
    apply_freeze(small_network, resolve_unfreeze(small_network, "none"))
    before = [layer.trainable for layer in backbone_layers(small_network)]
    resolve_unfreeze(small_network, "all")
    assert [layer.trainable for layer in backbone_layers(small_network)] == before == [False] * 8


def test_phases_can_freeze_again(small_network: Network) -> None:
    """A later phase with fewer layers ends with the same trainable weights as if it had been the first."""
    apply_freeze(small_network, resolve_unfreeze(small_network, "all"))
    apply_freeze(small_network, resolve_unfreeze(small_network, Unfreeze(from_layer="block2")))
    assert {weight.path.split("/")[-2] for weight in small_network.model.trainable_weights} == {
        "block2_conv",
        "block2_bn",
        "head_hidden_0",
        "logits",
    }


def test_an_unknown_layer_lists_near_names(small_network: Network) -> None:
    """A phase unfreezing a layer that does not exist: where, what, and which names are near."""
    with pytest.raises(SpecError) as caught:
        resolve_unfreeze(small_network, Unfreeze(from_layer="blok2_conv"), where="spec.phases[1].unfreeze")
    (problem,) = caught.value.problems
    assert problem.where == "spec.phases[1].unfreeze.fromLayer"
    assert problem.received == "blok2_conv"
    assert "`block2_conv`" in problem.fix


def test_an_unknown_block_of_a_large_backbone_lists_its_blocks(load: Load) -> None:
    """A block number that does not exist brings up the blocks there are."""
    network = build_network(
        load(path=str(LITE0)), Head(), outputs=2, seed=0, batch_norm_training=False, dropout_slice=None
    )
    with pytest.raises(SpecError, match="`block6a`"):
        resolve_unfreeze(network, Unfreeze(from_layer="blk6a"))
    boundary = resolve_unfreeze(network, Unfreeze(from_layer="block6a"))
    assert boundary.first_trainable_layer is not None
    assert boundary.first_trainable_layer.startswith("block6a_")


def test_a_block_prefix_does_not_match_longer_numbers(load: Load) -> None:
    """`block1` is not the block of `block_12`; `block_1` is that of `block_1_expand`."""
    network = build_network(
        load(name="MobileNetV2", weights="none"),
        Head(),
        outputs=2,
        seed=0,
        batch_norm_training=False,
        dropout_slice=None,
    )
    assert resolve_unfreeze(network, Unfreeze(from_layer="block_1")).first_trainable_layer == "block_1_expand"
    assert resolve_unfreeze(network, Unfreeze(from_layer="block_12")).first_trainable_layer == "block_12_expand"


def test_more_layers_than_there_are_is_refused(small_network: Network) -> None:
    """`lastLayers` beyond the backbone says how many there are."""
    with pytest.raises(SpecError, match=r"lastLayers: received 9, expected at most 8"):
        resolve_unfreeze(small_network, Unfreeze(last_layers=9))


@pytest.mark.parametrize("training", [False, True])
def test_frozen_batch_norm_keeps_its_statistics(load: Load, small_file: Any, training: bool) -> None:
    """Below the boundary moving statistics stay; above it they move only with `batch_norm_training`."""
    network = build_network(
        load(None, path=str(small_file)),
        Head(),
        outputs=3,
        seed=0,
        batch_norm_training=training,
        dropout_slice=None,
    )
    apply_freeze(network, resolve_unfreeze(network, Unfreeze(from_layer="block2")))
    before = {layer.name: layer.moving_mean.numpy() for layer in backbone_layers(network) if "_bn" in layer.name}
    network.model(np.random.default_rng(0).uniform(0, 255, (4, 16, 16, 3)).astype(np.float32), training=True)
    moved = {
        layer.name: not np.array_equal(before[layer.name], layer.moving_mean.numpy())
        for layer in backbone_layers(network)
        if layer.name in before
    }
    assert moved == {"block1_bn": False, "block2_bn": training}
