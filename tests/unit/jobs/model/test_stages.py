"""Gradual unfreezing: which layers train in which epochs of a phase."""

from __future__ import annotations

from typing import Any

import pytest

from graftwork.errors import SpecError
from graftwork.spec.fine_tune_job import Phase
from graftwork_jobs.model.freeze import apply_freeze
from graftwork_jobs.model.network import Network
from graftwork_jobs.model.stages import epochs_to_the_end, first_epochs, stage_at, stages_of


def _phase(epochs: int, unfreeze: Any) -> Phase:
    return Phase.model_validate({"name": "tune", "epochs": epochs, "unfreeze": unfreeze, "learningRate": 0.1})


def _gradually(epochs: int, every: int, **fields: Any) -> Phase:
    return _phase(epochs, {"gradually": {"oneBlockEvery": every, **fields}})


def _rows(network: Network, phase: Phase) -> list[tuple[int, int, str | None]]:
    return [(each.first_epoch, each.epochs, each.boundary.first_trainable_layer) for each in stages_of(network, phase)]


@pytest.mark.parametrize(
    ("phase", "rows"),
    [
        (_phase(4, "none"), [(0, 4, None)]),
        (_phase(4, {"fromLayer": "block2"}), [(0, 4, "block2_conv")]),
        (_gradually(7, 2), [(0, 2, None), (2, 2, "block2_conv"), (4, 3, "block1_conv")]),
        (_gradually(3, 2), [(0, 2, None), (2, 1, "block2_conv")]),
        (_gradually(7, 2, downTo="block2"), [(0, 2, None), (2, 5, "block2_conv")]),
        (_gradually(7, 2, downTo="block2_bn"), [(0, 2, None), (2, 5, "block2_bn")]),
        (_gradually(7, 2, downTo="block1_relu"), [(0, 2, None), (2, 5, "block2_conv")]),
    ],
    ids=str,
)
def test_blocks_unfreeze_from_the_head_downwards(
    small_network: Network, phase: Phase, rows: list[tuple[int, int, str | None]]
) -> None:
    """First epoch, epochs and boundary of each stage; a stage without weights of its own is none."""
    assert _rows(small_network, phase) == rows


def test_each_stage_trains_what_the_one_before_did_and_more(small_network: Network) -> None:
    """Which is why optimizer state can be carried over."""
    trained: list[set[str]] = []
    for stage in stages_of(small_network, _gradually(7, 2)):
        apply_freeze(small_network, stage.boundary)
        trained.append({each.path for each in small_network.model.trainable_variables})
    assert trained[0] < trained[1] < trained[2]


def test_epochs_belong_to_stages(small_network: Network) -> None:
    """What lies behind the last epoch counts to the last stage."""
    stages = stages_of(small_network, _gradually(7, 2))
    assert [stage_at(stages, epoch) for epoch in range(8)] == [0, 0, 1, 1, 2, 2, 2, 2]


def test_variables_know_when_they_began(small_network: Network) -> None:
    """The head at once, each block with its stage."""
    stages = stages_of(small_network, _gradually(7, 2))
    apply_freeze(small_network, stages[-1].boundary)
    variables = small_network.model.trainable_variables
    wanted = [4 if "block1" in each.path else 2 if "block2" in each.path else 0 for each in variables]
    assert first_epochs(small_network, stages, variables) == wanted
    assert set(wanted) == {0, 2, 4}


def test_the_last_block_needs_its_epochs(small_network: Network) -> None:
    """One epoch more than all stages before it take."""
    needed = epochs_to_the_end(small_network, _gradually(3, 2))
    assert needed == 5
    assert len(stages_of(small_network, _gradually(needed, 2))) == 3
    assert len(stages_of(small_network, _gradually(needed - 1, 2))) == 2


def test_an_unknown_block_is_named(small_network: Network) -> None:
    """With its place in the spec and names that are near."""
    with pytest.raises(SpecError, match=r"phases\[0\]\.unfreeze\.gradually\.downTo.*blok2.*block2"):
        stages_of(small_network, _gradually(7, 2, downTo="blok2"), where="spec.phases[0].unfreeze")
