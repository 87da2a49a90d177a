"""Layer-wise decay of the learning rate."""

from __future__ import annotations

import pytest

from graftwork_jobs.model.depth import block_of, rate_shares
from graftwork_jobs.model.network import Network


@pytest.mark.parametrize(
    ("layer", "block"),
    [
        ("block6a_expand_conv", "block6a"),
        ("conv5_block3_2_conv", "conv5_block3"),
        ("block_16_project_BN", "block_16"),
        ("block5_conv3", "block5"),
        ("transformer_layer_11", "transformer_layer_11"),
        ("stem_conv", "stem"),
        ("top_bn", "top"),
    ],
)
def test_blocks_are_what_names_begin_with(layer: str, block: str) -> None:
    """In the spellings of keras.applications and KerasHub."""
    assert block_of(layer) == block


def test_rates_fall_from_block_to_block(small_network: Network) -> None:
    """1 in the head; below it each block has `decay` times the rate of the one above."""
    head, (first, second) = (
        small_network.head.trainable_variables,
        (
            [small_network.backbone.get_layer(f"block{block}_{kind}").trainable_variables for kind in ("conv", "bn")]
            for block in (1, 2)
        ),
    )
    variables = [*first[0], *first[1], *second[0], *second[1], *head]
    wanted = [0.25] * 4 + [0.5] * 4 + [1.0] * len(head)
    assert rate_shares(small_network, variables, 0.5) == wanted
