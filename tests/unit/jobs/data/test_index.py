"""The stored index: nothing is lost, and its digest tells content and order, not place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from graftwork.errors import PermanentError
from graftwork_jobs.data.index import DatasetIndex, Split


def made_up() -> DatasetIndex:
    def split(name: str, labels: list[int]) -> Split:
        return Split(
            name=name,
            inputs=tuple(f"/data/{name}/{row}.png" for row in range(len(labels))),
            targets=np.array(labels, dtype=np.int32),
            digests=tuple(f"{name}{row}".ljust(64, "0") for row in range(len(labels))),
        )

    return DatasetIndex(
        labels=("cat", "dög"),
        splits={part.name: part for part in (split("train", [1, 0, 1]), split("test", [0]), split("other", []))},
    )


def test_save_and_load(tmp_path: Path) -> None:
    """Everything comes back as it was, empty splits included, and no temporary file stays."""
    index = made_up()
    index.save(tmp_path / "run" / "index.parquet")
    loaded = DatasetIndex.load(tmp_path / "run" / "index.parquet")
    assert loaded.labels == index.labels
    assert list(loaded.splits) == ["train", "test", "other"]
    for name, split in index.splits.items():
        assert loaded.splits[name].inputs == split.inputs
        assert loaded.splits[name].digests == split.digests
        np.testing.assert_array_equal(loaded.splits[name].targets, split.targets)
        assert loaded.splits[name].targets.dtype == np.int32
    assert loaded.digest == index.digest
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["index.parquet"]


def test_digest_ignores_where_the_files_are() -> None:
    """Moving the data does not change its digest."""
    index = made_up()
    train = replace(index.splits["train"], inputs=("s3://a", "s3://b", "s3://c"))
    assert replace(index, splits={**index.splits, "train": train}).digest == index.digest


def test_digest_tells_content_labels_and_splits() -> None:
    """A changed picture, label, class name or split changes the digest."""
    index = made_up()
    train, test = index.splits["train"], index.splits["test"]
    others = [
        replace(index, splits={**index.splits, "train": replace(train, digests=("x", *train.digests[1:]))}),
        replace(index, splits={**index.splits, "train": replace(train, targets=np.array([0, 0, 1], dtype=np.int32))}),
        replace(index, labels=("cat", "dog")),
        replace(
            index,
            splits={"train": train, "validation": replace(test, name="validation"), "other": index.splits["other"]},
        ),
    ]
    assert len({index.digest, *(other.digest for other in others)}) == 5


@pytest.mark.parametrize("content", [None, b"", b"not parquet at all"])
def test_unreadable_file(tmp_path: Path, content: bytes | None) -> None:
    """A missing or damaged file is an error that names it."""
    path = tmp_path / "index.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PermanentError, match=r"index\.parquet"):
        DatasetIndex.load(path)
