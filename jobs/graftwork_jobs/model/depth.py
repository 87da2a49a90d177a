"""How deep a weight lies: what layer-wise decay of the learning rate goes by."""

from __future__ import annotations

import re
from collections.abc import Sequence

import keras

from graftwork_jobs.model.freeze import backbone_layers
from graftwork_jobs.model.network import Network

# `block6a_expand_conv` is of block6a, `conv5_block3_2_conv` of conv5_block3, `block_16_project` of block_16.
_BLOCK = re.compile(r"[a-z]+\d*_?block_?\d+[a-z]?|block_?\d+[a-z]?|.*?_\d+$")


def block_of(layer: str) -> str:
    """Name of the block that a layer is part of: what its name begins with, or all of it."""
    found = _BLOCK.match(layer)
    return found[0] if found else layer


def rate_shares(network: Network, variables: Sequence[keras.Variable], decay: float) -> list[float]:
    """What the learning rate of each variable is multiplied by: 1 in the head, `decay` once more for each block below.

    Source: Clark et al. 2020 (ELECTRA, arXiv:2003.10555), appendix A: layer-wise learning-rate decay.

    Args:
        network: whose head and backbone.
        variables: that train.
        decay: share of the rate of the block above.
    """
    weighted = [layer for layer in backbone_layers(network) if layer.weights]
    blocks = list(dict.fromkeys(block_of(layer.name) for layer in weighted))
    depth = {
        id(weight): len(blocks) - blocks.index(block_of(layer.name)) for layer in weighted for weight in layer.weights
    }
    return [decay ** depth.get(id(variable), 0) for variable in variables]
