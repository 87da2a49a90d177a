"""Stages of a phase: stretches of epochs in which the same layers train. Most phases are one stage.

Gradual unfreezing begins with the head alone and lets one more block of the backbone train from stage to stage.
Source: Howard & Ruder 2018 (arXiv:1801.06146), section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from graftwork.spec.fine_tune_job import Phase, Unfreeze
from graftwork_jobs.model.depth import blocks_of
from graftwork_jobs.model.freeze import FreezeBoundary, UnfreezeSetting, backbone_layers, layer_index, resolve_unfreeze
from graftwork_jobs.model.network import Network


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Epochs of a phase in which the same layers train.

    Attributes:
        first_epoch: its first epoch in the phase, from 0.
        epochs: how many it has.
        boundary: what trains.
    """

    first_epoch: int
    epochs: int
    boundary: FreezeBoundary


def stages_of(network: Network, phase: Phase, *, where: str = "unfreeze") -> tuple[Stage, ...]:
    """The stages of a phase, in order; together they are all its epochs. Changes nothing.

    Args:
        network: whose backbone.
        phase: from the spec.
        where: YAML path of `unfreeze`, for errors.

    Raises:
        SpecError: as for `resolve_unfreeze`.
    """
    if phase.gradually is None:
        boundary = resolve_unfreeze(network, phase.unfreeze, where=where)
        return (Stage(first_epoch=0, epochs=phase.epochs, boundary=boundary),)
    every, down_to = phase.gradually.one_block_every, phase.gradually.down_to
    settings: list[UnfreezeSetting] = [
        "none",
        *(Unfreeze(from_layer=first) for first in _firsts(network, down_to, f"{where}.gradually")),
    ]
    begins = list(range(0, phase.epochs, every))[: len(settings)]
    ends = [*begins[1:], phase.epochs]
    return tuple(
        Stage(first_epoch=begin, epochs=end - begin, boundary=resolve_unfreeze(network, setting, where=where))
        for begin, end, setting in zip(begins, ends, settings, strict=False)
    )


def epochs_to_the_end(network: Network, phase: Phase, *, where: str = "unfreeze") -> int:
    """How many epochs a phase must have for its last block to train for one."""
    if phase.gradually is None:
        return 1
    return phase.gradually.one_block_every * len(_firsts(network, phase.gradually.down_to, f"{where}.gradually")) + 1


def _firsts(network: Network, down_to: str | None, where: str) -> list[str]:
    """The layer that each further stage trains from, uppermost first; each adds weights to the one before."""
    layers = backbone_layers(network)
    names = [layer.name for layer in layers]
    begins = [names.index(block[0].name) for block in reversed(blocks_of(network).values())]
    if down_to is not None:
        lowest = layer_index(down_to, names, f"{where}.downTo")
        whole = [begin for begin in begins if begin > lowest]
        part = layers[lowest : whole[-1] if whole else len(layers)]
        begins = [*whole, lowest] if any(layer.weights for layer in part) else whole
    return [names[begin] for begin in begins]


def stage_at(stages: Sequence[Stage], epoch: int) -> int:
    """Number of the stage that an epoch is in; the last one for what lies behind it."""
    return max(number for number, stage in enumerate(stages) if stage.first_epoch <= epoch)


def first_epochs(network: Network, stages: Sequence[Stage], variables: Sequence[keras.Variable]) -> list[int]:
    """The epoch of the phase from which each variable trains.

    Args:
        network: whose backbone.
        stages: of the phase.
        variables: that train in the last one.
    """
    begins = {
        id(weight): next(stage.first_epoch for stage in stages if layer.name in stage.boundary.trainable_layers)
        for layer in backbone_layers(network)
        if layer.name in stages[-1].boundary.trainable_layers
        for weight in layer.weights
    }
    # The head trains from the beginning.
    return [begins.get(id(variable), 0) for variable in variables]
