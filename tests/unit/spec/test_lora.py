"""Phases that train low-rank adapters."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from graftwork.spec.fine_tune_job import FineTuneJob, Lora
from tests.unit.spec.examples import JOB, changed


def _job(*settings: Any) -> FineTuneJob:
    phases = [
        {"name": f"phase-{number}", "epochs": 1, "unfreeze": setting, "learningRate": 1e-3}
        for number, setting in enumerate(settings)
    ]
    return FineTuneJob.model_validate(changed(JOB, ("spec", "phases"), phases))


def test_the_word_stands_for_adapters_with_defaults() -> None:
    """`lora` is `{lora: {}}`; other settings have no adapters."""
    phases = _job("lora", {"lora": {}}, "all", {"lastLayers": 3}).spec.phases
    assert [phase.lora for phase in phases] == [Lora(rank=8), Lora(rank=8), None, None]


@pytest.mark.parametrize(("setting", "scale"), [({"rank": 4}, 1.0), ({"rank": 4, "alpha": 2}, 0.5)])
def test_alpha_counts_beside_the_rank(setting: dict[str, Any], scale: float) -> None:
    """`alpha / rank`, and 1 where only the rank is given."""
    (phase,) = _job({"lora": setting}).spec.phases
    assert phase.lora is not None
    assert phase.lora.scale == scale


def test_phases_with_different_adapters_are_refused() -> None:
    """The error names both phases' settings."""
    with pytest.raises(ValidationError, match=r"lora rank 4 alpha 2 where phase phase-0 has lora rank 8"):
        _job("lora", "none", {"lora": {"rank": 4, "alpha": 2}})
