"""Numbers to predict come from columns of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graftwork.errors import SpecError
from graftwork.progress import SilentReporter
from graftwork.spec.fine_tune_job import Data
from graftwork_jobs.data.index import DatasetIndex
from graftwork_jobs.data.scan import DataScan, scan_data
from tests.unit.jobs.data.pictures import write_folder


def scan_numbers(folder: Path, columns: list[str], **more: Any) -> DataScan:
    """Scan `list.csv`."""
    data = Data.model_validate({"train": {"uri": "list.csv"}, "targetColumns": columns, **more})
    return scan_data(
        data, base_dir=folder, cache_dir=folder / "cache", seed=1, reporter=SilentReporter(), target="numbers"
    )


def write_table(folder: Path, **cells: str) -> None:
    """A table with `path`, `a` = row number, `b` = its half; cells replace `b` by row."""
    write_folder(folder / "pictures", {"x": 10})
    paths = sorted((folder / "pictures" / "x").iterdir())
    lines = [f"pictures/x/{path.name},{row},{cells.get(f'row{row}', row / 2)}" for row, path in enumerate(paths)]
    (folder / "list.csv").write_text("\n".join(["path,a,b", *lines]))


def test_numbers_become_targets_and_survive_the_index(tmp_path: Path) -> None:
    """Every example keeps its numbers, in the order of `targetColumns`; names are the columns."""
    write_table(tmp_path)
    index = scan_numbers(tmp_path, ["b", "a"]).index
    assert index.labels == ("b", "a")
    assert sum(len(split) for split in index.splits.values()) == 10
    index.save(tmp_path / "index.parquet")
    loaded = DatasetIndex.load(tmp_path / "index.parquet")
    for name, split in index.splits.items():
        np.testing.assert_array_equal(loaded.splits[name].targets, split.targets)
        assert split.targets.dtype == loaded.splits[name].targets.dtype == np.float32
        np.testing.assert_array_equal(split.targets[:, 0] * 2, split.targets[:, 1])
    assert loaded.digest == index.digest


@pytest.mark.parametrize(
    ("cells", "columns", "received"),
    [
        ({"row3": "much"}, ["a", "b"], "`much` in column b"),
        ({"row3": "inf"}, ["a", "b"], "`inf` in column b"),
        ({"row3": ""}, ["a", "b"], "an empty cell"),
        ({}, ["a", "c"], "column c"),
        ({f"row{row}": "7" for row in range(10)}, ["a", "b"], "7 in every row of column b"),
    ],
)
def test_what_is_no_number_is_named(tmp_path: Path, cells: dict[str, str], columns: list[str], received: str) -> None:
    """Cells that are no numbers, missing cells and columns, and columns without anything to learn."""
    write_table(tmp_path, **cells)
    with pytest.raises(SpecError, match="received") as caught:
        scan_numbers(tmp_path, columns)
    assert received.rsplit("`", maxsplit=1)[-1] in str(caught.value) or received in str(caught.value)


def test_a_folder_has_no_numbers(tmp_path: Path) -> None:
    """Class folders do not say what to predict."""
    write_table(tmp_path)
    with pytest.raises(SpecError, match="a table"):
        scan_numbers(tmp_path, ["a"], train={"uri": "pictures"})
