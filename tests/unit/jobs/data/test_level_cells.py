"""Levels have the order of the spec, whatever their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from graftwork.errors import SpecError
from graftwork.progress import SilentReporter
from graftwork.spec.fine_tune_job import Data
from graftwork_jobs.data.scan import DataScan, scan_data
from tests.unit.jobs.data.pictures import write_folder


def _scan(folder: Path, order: list[str], **data: Any) -> DataScan:
    write_folder(folder / "rated", {"poor": 6, "fair": 7, "good": 8})
    section = Data.model_validate({"train": {"uri": "rated"}, "labelOrder": order, **data})
    return scan_data(
        section, base_dir=folder, cache_dir=folder / "cache", seed=1, reporter=SilentReporter(), target="levels"
    )


def test_levels_are_numbered_in_their_order(tmp_path: Path) -> None:
    """Not by the alphabet."""
    index = _scan(tmp_path, ["poor", "fair", "good"]).index
    assert index.labels == ("poor", "fair", "good")
    for split in index.splits.values():
        assert [Path(uri).parent.name for uri in split.inputs] == [index.labels[level] for level in split.targets]


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (["poor", "fair", "god"], "level good .* does not name.*Did you mean `?god"),
        (["poor", "fair", "good", "best"], r"labelOrder\[3\]: received best, of which the training data has no"),
    ],
)
def test_levels_and_data_have_to_agree(tmp_path: Path, order: list[str], said: str) -> None:
    """Labels that the order does not name, and levels without examples."""
    with pytest.raises(SpecError, match=said):
        _scan(tmp_path, order)
