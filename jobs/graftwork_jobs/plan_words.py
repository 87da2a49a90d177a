"""What a plan says in words of single settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graftwork.spec.fine_tune_job import FineTuneJobSpec, Phase
from graftwork.spec.job_training import lora_words

if TYPE_CHECKING:
    from graftwork.settings import Settings


def unfreeze_words(phase: Phase) -> str:
    """What trains in the backbone, for people."""
    if phase.lora is not None:
        return lora_words(phase.lora)
    if isinstance(phase.unfreeze, str):
        return phase.unfreeze
    if phase.gradually is not None:
        down_to = "" if phase.gradually.down_to is None else f" down to {phase.gradually.down_to}"
        return f"one block more every {phase.gradually.one_block_every} epochs{down_to}"
    (key, value), *_ = phase.unfreeze.model_dump(by_alias=True, exclude_none=True).items()
    return f"{key} {value}"


def registration_words(spec: FineTuneJobSpec, settings: Settings) -> str:
    """What becomes of the bundle, for people."""
    if spec.register_ is None:
        return "nothing; the bundle stays in the run's folder"
    alias = f", alias {spec.register_.alias}" if spec.register_.alias else ""
    where = "the embedded registry" if settings.is_embedded_registry else "the MLflow registry"
    return f"a new version of {spec.register_.model}{alias} in {where}"
