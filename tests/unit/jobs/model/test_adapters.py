from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from graftwork.errors import SpecError
from graftwork.spec.fine_tune_job import Head, Lora, Unfreeze
from graftwork_jobs.features.extract import _digest
from graftwork_jobs.model.adapters import adapter_variables, add_adapters, merge_adapters, plain_weights
from graftwork_jobs.model.freeze import FreezeBoundary, apply_freeze, resolve_unfreeze
from graftwork_jobs.model.network import Network, build_network

_IDS = np.random.default_rng(0).integers(0, 20, (6, 5)).astype(np.int32)
_RANK = 3
# By hand: attention with two heads of 4 on vectors of 8 (query, key and value: (8, 2, 4); output: (2, 4, 8)), a
# fully connected layer 8 -> 6 in the block after it, and a head of 2 outputs.
_ADAPTERS = 3 * (8 * 2 * _RANK + _RANK * 4) + (2 * 4 * _RANK + _RANK * 8) + (8 * _RANK + _RANK * 6)
_HEAD = 6 * 2 + 2


def _network() -> Network:
    keras.utils.set_random_seed(1)
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    vectors = keras.layers.Embedding(20, 8, name="embedding")(ids)
    attention = keras.layers.MultiHeadAttention(2, 4, name="attention")(vectors, vectors)
    block = keras.layers.Dense(6, activation="relu", name="feed_forward")(attention)
    pooled = keras.layers.GlobalAveragePooling1D(name="pooling")(block)
    backbone: Any = SimpleNamespace(model=keras.Model(ids, pooled, name="backbone"))
    return build_network(backbone, Head(), outputs=2, seed=4, batch_norm_training=True, dropout_slice=None)


@pytest.fixture
def adapted() -> Network:
    """A small transformer with adapters that have learned something."""
    network = _network()
    add_adapters(network, Lora(rank=_RANK, alpha=6.0), seed=4)
    random = np.random.default_rng(1)
    for variable in adapter_variables(network.backbone):
        variable.assign(random.normal(0, 0.3, variable.shape))
    return network


def _outputs(network: Network) -> np.ndarray:
    return np.asarray(network.model(_IDS, training=False))


def _boundary(network: Network, unfreeze: Any) -> FreezeBoundary:
    boundary = resolve_unfreeze(network, unfreeze)
    apply_freeze(network, boundary)
    return boundary


def test_new_adapters_change_nothing() -> None:
    """A network computes the same before and right after it gets adapters, bit by bit."""
    network = _network()
    before = _outputs(network)
    add_adapters(network, Lora(rank=_RANK), seed=4)
    np.testing.assert_array_equal(_outputs(network), before)


def test_same_seed_same_adapters() -> None:
    """Every worker makes the same adapters; another seed makes others."""
    values = []
    for seed in (4, 4, 5):
        network = _network()
        add_adapters(network, Lora(rank=_RANK), seed=seed)
        values.append(np.concatenate([np.ravel(each.numpy()) for each in adapter_variables(network.backbone)]))
    np.testing.assert_array_equal(values[0], values[1])
    assert not np.array_equal(values[0], values[2])


@pytest.mark.parametrize("has_adapters", [False, True], ids=["plan", "worker"])
def test_only_adapters_and_head_train(has_adapters: bool) -> None:
    """The plan counts without adapters what the workers then train with them."""
    network = _network()
    total = network.model.count_params()
    if has_adapters:
        add_adapters(network, Lora(rank=_RANK), seed=4)
    boundary = _boundary(network, Unfreeze(lora=Lora(rank=_RANK)))
    assert boundary.first_trainable_layer == "attention"
    assert boundary.trainable_parameters == _ADAPTERS + _HEAD
    assert boundary.total_parameters == total
    if has_adapters:
        trained = network.model.trainable_variables
        assert sum(int(np.prod(each.shape)) for each in trained) == _ADAPTERS + _HEAD


def test_other_phases_leave_adapters_alone(adapted: Network) -> None:
    """With adapters about, `all` trains what it trains without them, also after a phase of adapters."""
    _boundary(adapted, "lora")
    _boundary(adapted, "all")
    plain = _network()
    _boundary(plain, "all")
    assert [each.path for each in adapted.model.trainable_variables] == [
        each.path for each in plain.model.trainable_variables
    ]


def test_merged_adapters_stay_in_effect(adapted: Network) -> None:
    """After merging, the kernels alone give what kernels and adapters gave, worked out here from the definition."""
    (dense,) = [layer for layer in adapted.backbone.layers if layer.name == "feed_forward"]
    a, b = dense.lora_kernel_a.numpy(), dense.lora_kernel_b.numpy()
    expected_kernel = dense._kernel.numpy() + 6.0 / _RANK * (a @ b)
    before = _outputs(adapted)
    merge_adapters(adapted, seed=4)
    np.testing.assert_allclose(dense._kernel.numpy(), expected_kernel, atol=1e-6)
    np.testing.assert_allclose(_outputs(adapted), before, atol=1e-5)
    plain = _network()
    for ours, theirs in zip(plain.model.weights, plain_weights(adapted.model), strict=True):
        ours.assign(theirs)
    np.testing.assert_array_equal(_outputs(plain), _outputs(adapted))


def test_merging_makes_adapters_as_new(adapted: Network) -> None:
    """A second phase of adapters begins as the first did."""
    merge_adapters(adapted, seed=4)
    fresh = _network()
    add_adapters(fresh, Lora(rank=_RANK, alpha=6.0), seed=4)
    for ours, theirs in zip(adapter_variables(adapted.backbone), adapter_variables(fresh.backbone), strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_saved_weights_are_plain(adapted: Network, tmp_path: Any) -> None:
    """What a worker saves, the driver's network without adapters loads."""
    merge_adapters(adapted, seed=4)
    adapted.model.save_weights(tmp_path / "final.weights.h5")
    plain = _network()
    plain.model.load_weights(tmp_path / "final.weights.h5")
    np.testing.assert_array_equal(_outputs(plain), _outputs(adapted))


def test_features_are_shared_with_jobs_without_adapters() -> None:
    """New adapters do not change the key of a trunk's features; what they learned does, once merged."""
    plain, adapted = _network(), _network()
    add_adapters(adapted, Lora(rank=_RANK), seed=4)
    assert _digest(adapted.backbone) == _digest(plain.backbone)
    for variable in adapter_variables(adapted.backbone):
        variable.assign(np.full(variable.shape, 0.1))
    with pytest.raises(ValueError, match="expected a merged one"):
        _digest(adapted.backbone)
    merge_adapters(adapted, seed=4)
    assert _digest(adapted.backbone) != _digest(plain.backbone)


def test_a_backbone_without_fully_connected_layers_is_refused(small_network: Network) -> None:
    """Convolutions take no adapter: the error says what to use instead."""
    with pytest.raises(SpecError, match=r"phases\[0\]\.unfreeze: received low-rank adapters for a backbone without"):
        resolve_unfreeze(small_network, "lora", where="spec.phases[0].unfreeze")
