"""How deep a weight lies: what layer-wise decay of the learning rate and gradual unfreezing go by."""

from __future__ import annotations

import re
from collections.abc import Sequence

import keras

from graftwork_jobs.model.freeze import backbone_layers
from graftwork_jobs.model.network import Network

# `block6a_expand_conv` is of block6a, `conv5_block3_2_conv` of conv5_block3, `block_16_project` of block_16,
# `expanded_conv_3_squeeze_excite_conv_1` of expanded_conv_3.
_BLOCK = re.compile(r".*?block_?\d+[a-z]?|expanded_conv(?:_\d+)?|.*?_\d+$")
_NORMALISATION = (keras.layers.BatchNormalization, keras.layers.LayerNormalization)


def block_of(layer: str) -> str:
    """Name of the block that a layer is part of: what its name begins with, up to a number or to its first word."""
    found = _BLOCK.match(layer)
    return found[0] if found else layer.partition("_")[0]


def blocks_of(network: Network) -> dict[str, list[keras.layers.Layer]]:
    """Blocks of a backbone, from the input upwards: names and layers that have weights.

    Normalisation whose name tells of no block that is there is part of the block before it.
    """
    blocks: dict[str, list[keras.layers.Layer]] = {}
    for layer in backbone_layers(network):
        if not layer.weights:
            continue
        name = block_of(layer.name)
        if name not in blocks and blocks and isinstance(layer, _NORMALISATION):
            name = next(reversed(blocks))
        blocks.setdefault(name, []).append(layer)
    return blocks


def rate_shares(network: Network, variables: Sequence[keras.Variable], decay: float) -> list[float]:
    """What the learning rate of each variable is multiplied by: 1 in the head, `decay` once more for each block below.

    Source: Clark et al. 2020 (ELECTRA, arXiv:2003.10555), appendix A: layer-wise learning-rate decay.

    Args:
        network: whose head and backbone.
        variables: that train.
        decay: share of the rate of the block above.
    """
    depth = {
        id(weight): below
        for below, layers in enumerate(reversed(blocks_of(network).values()), start=1)
        for layer in layers
        for weight in layer.weights
    }
    return [decay ** depth.get(id(variable), 0) for variable in variables]
