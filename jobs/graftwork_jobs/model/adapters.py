"""Low-rank adapters (LoRA): beside the kernel of each fully connected layer of a backbone, two small matrices train.

A layer computes with `kernel + alpha / rank * A @ B`. The adapters are part of the workers' network for the whole job,
so that its variables are the same in all phases; outside the phases that train them, B is zero and the layers are what
they would be without. Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (2021).
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import keras

from graftwork.spec.fine_tune_job import Lora
from graftwork_jobs.model.network import Network, derived_seed
from graftwork_jobs.model.rebuild import LayerConfig

# Where the numbers of seeds begin, so that no two layers share one.
_ADAPTER_SEEDS = 20_000

Linear: TypeAlias = keras.layers.Dense | keras.layers.EinsumDense
"""Layers that take an adapter. Embeddings could, but matrices as long as a vocabulary are not small."""


def linear_layers(layer: keras.layers.Layer) -> list[Linear]:
    """Fully connected layers in a layer, at any depth, in the order in which it holds them."""
    parts = layer._flatten_layers()  # noqa: SLF001 - the public `layers` exists on models only
    return [part for part in parts if isinstance(part, Linear) and part.kernel_constraint is None]


def adapter_size(layer: Linear, rank: int) -> int:
    """Numbers of an adapter: A has the kernel's shape with `rank` in place of the last side, B is (rank, last side)."""
    *others, last = (int(side) for side in layer.kernel.shape)
    return rank * (math.prod(others) + last)


def add_adapters(network: Network, lora: Lora, *, seed: int) -> None:
    """Give every fully connected layer of the backbone an adapter that changes nothing yet.

    Args:
        network: to be trained; gets more variables.
        lora: what the adapters are like.
        seed: of the job.
    """
    for number, layer in enumerate(linear_layers(network.backbone)):
        layer.enable_lora(lora.rank, lora_alpha=lora.scale * lora.rank, a_initializer=_initializer(seed, number))


def adapter_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """A and B of every adapter in a layer or model."""
    return [variable for part in linear_layers(layer) if part.lora_enabled for variable in _matrices(part)]


def merge_adapters(network: Network, *, seed: int) -> None:
    """Add what the adapters learned to the kernels, and make the adapters as new; nothing to do where there are none.

    Args:
        network: as `add_adapters` left it, or without adapters.
        seed: of the job.
    """
    for number, layer in enumerate(linear_layers(network.backbone)):
        if not layer.lora_enabled:
            continue
        kernel = layer._kernel  # noqa: SLF001 - `kernel` is the sum already
        a, b = _matrices(layer)
        kernel.assign(kernel + layer.lora_alpha / layer.lora_rank * keras.ops.matmul(a, b))
        a.assign(_initializer(seed, number)(a.shape, dtype=a.dtype))
        b.assign(keras.ops.zeros(b.shape, dtype=b.dtype))


def plain_weights(model: keras.Model) -> list[keras.Variable]:
    """Weights of a model without those of its adapters.

    Raises:
        ValueError: an adapter holds something, so that they are not all of the model.
    """
    left_out = set()
    for layer in linear_layers(model):
        if layer.lora_enabled:
            a, b = _matrices(layer)
            if bool(keras.ops.any(b != 0)):
                raise ValueError(f"{layer.path}: received an adapter in training, expected a merged one")
            left_out |= {id(a), id(b)}
    return [weight for weight in model.weights if id(weight) not in left_out]


def without_adapter(layer: LayerConfig) -> LayerConfig:
    """A serialised layer as it is without an adapter."""
    config = {key: value for key, value in layer["config"].items() if key not in {"lora_rank", "lora_alpha"}}
    return {**layer, "config": config}


def _matrices(layer: Linear) -> tuple[keras.Variable, keras.Variable]:
    return layer.lora_kernel_a, layer.lora_kernel_b


def _initializer(seed: int, number: int) -> Any:
    """Of the A of an adapter; Keras' own choice, with a seed."""
    return keras.initializers.HeUniform(seed=derived_seed(seed, _ADAPTER_SEEDS + number))
