"""Any number of labels come from one column of names or from a column a label; weights from a column of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graftwork.errors import SpecError
from graftwork.progress import SilentReporter
from graftwork.spec.fine_tune_job import Data
from graftwork.spec.tasks import TargetKind
from graftwork_jobs.data.index import DatasetIndex
from graftwork_jobs.data.scan import DataScan, scan_data
from tests.unit.jobs.data.pictures import write_folder

TAGS = ["cat|dog", "dog", "", "cat", "dog | bird", "cat|dog", "bird", "dog", "cat", "bird|cat"]


def scan(folder: Path, target: TargetKind = "multilabel", **data: Any) -> DataScan:
    """Scan `list.csv`."""
    section = Data.model_validate({"train": {"uri": "list.csv"}, **data})
    return scan_data(
        section, base_dir=folder, cache_dir=folder / "cache", seed=1, reporter=SilentReporter(), target=target
    )


def write_table(folder: Path, **columns: list[Any]) -> None:
    """A table with `path` of ten different pictures, and columns."""
    write_folder(folder / "pictures", {"x": 10})
    paths = sorted((folder / "pictures" / "x").iterdir())
    lines = [
        ",".join([f"pictures/x/{path.name}", *(str(cells[row]) for cells in columns.values())])
        for row, path in enumerate(paths)
    ]
    (folder / "list.csv").write_text("\n".join([",".join(["path", *columns]), *lines]))


def test_names_in_one_column_become_zeros_and_ones(tmp_path: Path) -> None:
    """Sorted names, an empty cell for none, and the index keeps all of it."""
    write_table(tmp_path, label=TAGS)
    found = scan(tmp_path)
    assert found.index.labels == ("bird", "cat", "dog")
    assert found.counts["train"].keys() == {"bird", "cat", "dog"}
    targets = {
        uri: tuple(row)
        for split in found.index.splits.values()
        for uri, row in zip(split.inputs, split.targets.tolist(), strict=True)
    }
    in_order = [targets[uri] for uri in sorted(targets)]
    assert in_order[0] == (0, 1, 1)
    assert in_order[2] == (0, 0, 0)
    assert in_order[4] == (1, 0, 1)
    found.index.save(tmp_path / "index.parquet")
    assert DatasetIndex.load(tmp_path / "index.parquet").digest == found.index.digest


def test_a_column_a_label_says_yes_and_no(tmp_path: Path) -> None:
    """In any of the usual spellings; the order of the labels is that of the columns."""
    write_table(tmp_path, b=["1", "0", "true", "no", "", "Yes", "0", "1", "0.0", "1.0"], a=[0, 1] * 5)
    found = scan(tmp_path, targetColumns=["b", "a"])
    assert found.index.labels == ("b", "a")
    assert sum(counts["b"] for counts in found.counts.values()) == 5


@pytest.mark.parametrize(
    ("columns", "data", "said"),
    [
        ({"label": TAGS}, {"labelSeparator": ";"}, "(`|`?)"),
        ({"label": [f"all|{tags}" for tags in TAGS]}, {}, "label all in every row"),
        ({"label": ["", *["a|b"] * 9], "b": [2] * 10}, {"targetColumns": ["b"]}, "`2` in column b"),
        ({"b": [0] * 10}, {"targetColumns": ["b"]}, "label b in no row"),
    ],
)
def test_what_cannot_be_learned_is_refused(
    tmp_path: Path, columns: dict[str, list[Any]], data: dict[str, Any], said: str
) -> None:
    """The wrong separator, labels without an example or without a counterexample, cells that say neither."""
    write_table(tmp_path, **columns)
    with pytest.raises(SpecError) as caught:
        scan(tmp_path, **data)
    assert said in str(caught.value)


def test_weights_belong_to_the_training_data(tmp_path: Path) -> None:
    """They stay with their examples and are 1 on average there; other splits have none."""
    write_table(tmp_path, label=["a", "b"] * 5, trust=list(range(1, 11)))
    index = scan(tmp_path, target="classes", weightColumn="trust").index
    index.save(tmp_path / "index.parquet")
    loaded = DatasetIndex.load(tmp_path / "index.parquet")
    assert loaded.digest == index.digest
    splits = loaded.splits
    train = splits["train"]
    assert train.weights is not None
    assert train.weights.mean() == pytest.approx(1.0)
    # Weights in the table rise by one from picture to picture, from 1 on.
    numbers = np.array([int(Path(uri).stem) + 1 for uri in train.inputs])
    np.testing.assert_allclose(train.weights, numbers / numbers.mean(), rtol=1e-6)
    assert splits["validation"].weights is None
    assert splits["test"].weights is None


@pytest.mark.parametrize("cell", ["0", "-1", "much", "nan"])
def test_a_weight_is_a_number_above_zero(tmp_path: Path, cell: str) -> None:
    """The cell and its place are named."""
    write_table(tmp_path, label=["a", "b"] * 5, trust=[1] * 9 + [cell])
    with pytest.raises(SpecError) as caught:
        scan(tmp_path, target="classes", weightColumn="trust")
    assert f"`{cell}` in column trust" in str(caught.value)
